# The functions of OpenSSL 3 that TLS needs: see openssl.h. They may be called once openssl_load has returned NULL.
# Before each call that may leave an error in the thread's queue, the queue is cleared.
from libc.stdint cimport uint64_t

cdef extern from "../transport/openssl.h" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    ctypedef struct X509:
        pass
    ctypedef struct ASN1_TIME:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct OSSL_PARAM:
        pass
    ctypedef int (*PasswordCallback "hs_password_callback *")(
        char *buffer, int size, int writing, void *data) noexcept nogil
    ctypedef int (*AlpnCallback "hs_alpn_callback *")(
        SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *offered,
        unsigned int length, void *argument) noexcept nogil
    ctypedef int (*NameCallback "hs_name_callback *")(SSL *ssl, int *alert, void *argument) noexcept nogil
    ctypedef int (*TicketCallback "hs_ticket_callback *")(
        SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
        int encrypts) noexcept nogil
    enum:
        HS_SSL_ERROR_SSL
        HS_SSL_ERROR_WANT_READ
        HS_SSL_ERROR_WANT_WRITE
        HS_SSL_ERROR_ZERO_RETURN
        HS_FILETYPE_PEM
        HS_MODE_PARTIAL_WRITE
        HS_MODE_MOVING_BUFFER
        HS_MODE_RELEASE_BUFFERS
        HS_CTRL_MODE
        HS_CTRL_READ_AHEAD
        HS_CTRL_SESS_CACHE_MODE
        HS_CTRL_SET_GROUPS_LIST
        HS_CTRL_SET_MIN_PROTO_VERSION
        HS_CTRL_SET_TLSEXT_SERVERNAME_ARG
        HS_CTRL_GET_CHAIN_CERTS
        HS_CALLBACK_SERVERNAME
        HS_TLSEXT_OK
        HS_TLSEXT_ALERT_FATAL
        HS_TLSEXT_NOACK
        HS_BIO_CTRL_EOF
        HS_BIO_CTRL_FLUSH
        HS_BIO_FLAGS_READ
        HS_BIO_FLAGS_WRITE
        HS_BIO_FLAGS_RETRY
        HS_BIO_FLAGS_ALL
        HS_BIO_TYPE_SOURCE_SINK
    const uint64_t HS_OP_NO_COMPRESSION, HS_OP_NO_RENEGOTIATION, HS_OP_IGNORE_UNEXPECTED_EOF
    const uint64_t HS_OP_CIPHER_SERVER_PREFERENCE, HS_OP_PRIORITIZE_CHACHA

    # Open the libraries, once. Returns NULL, or what is missing. Not for two threads at a time.
    const char *openssl_load "hs_openssl_load" (const char *ssl_name, const char *crypto_name)

    const SSL_METHOD *TLS_server_method "hs_openssl.TLS_server_method" ()
    SSL_CTX *SSL_CTX_new "hs_openssl.SSL_CTX_new" (const SSL_METHOD *method)
    void SSL_CTX_free "hs_openssl.SSL_CTX_free" (SSL_CTX *context)
    uint64_t SSL_CTX_set_options "hs_openssl.SSL_CTX_set_options" (SSL_CTX *context, uint64_t options)
    long SSL_CTX_ctrl "hs_openssl.SSL_CTX_ctrl" (SSL_CTX *context, int command, long number, void *data)
    long SSL_CTX_callback_ctrl "hs_openssl.SSL_CTX_callback_ctrl" (
        SSL_CTX *context, int command, void (*callback)() noexcept nogil)
    int SSL_CTX_set_cipher_list "hs_openssl.SSL_CTX_set_cipher_list" (SSL_CTX *context, const char *names)
    int SSL_CTX_set_ciphersuites "hs_openssl.SSL_CTX_set_ciphersuites" (SSL_CTX *context, const char *names)
    int SSL_CTX_use_certificate_chain_file "hs_openssl.SSL_CTX_use_certificate_chain_file" (
        SSL_CTX *context, const char *path)
    int SSL_CTX_use_PrivateKey_file "hs_openssl.SSL_CTX_use_PrivateKey_file" (
        SSL_CTX *context, const char *path, int form)
    int SSL_CTX_check_private_key "hs_openssl.SSL_CTX_check_private_key" (const SSL_CTX *context)
    void SSL_CTX_set_default_passwd_cb "hs_openssl.SSL_CTX_set_default_passwd_cb" (
        SSL_CTX *context, PasswordCallback callback)
    void SSL_CTX_set_default_passwd_cb_userdata "hs_openssl.SSL_CTX_set_default_passwd_cb_userdata" (
        SSL_CTX *context, void *data)
    void SSL_CTX_set_alpn_select_cb "hs_openssl.SSL_CTX_set_alpn_select_cb" (
        SSL_CTX *context, AlpnCallback callback, void *argument)
    int SSL_CTX_set_tlsext_ticket_key_evp_cb "hs_openssl.SSL_CTX_set_tlsext_ticket_key_evp_cb" (
        SSL_CTX *context, TicketCallback callback)
    int SSL_CTX_set_session_id_context "hs_openssl.SSL_CTX_set_session_id_context" (
        SSL_CTX *context, const unsigned char *data, unsigned int length)
    X509 *SSL_CTX_get0_certificate "hs_openssl.SSL_CTX_get0_certificate" (const SSL_CTX *context)
    const ASN1_TIME *X509_get0_notAfter "hs_openssl.X509_get0_notAfter" (const X509 *certificate)
    const ASN1_TIME *X509_get0_notBefore "hs_openssl.X509_get0_notBefore" (const X509 *certificate)
    int ASN1_TIME_diff "hs_openssl.ASN1_TIME_diff" (
        int *days, int *seconds, const ASN1_TIME *start, const ASN1_TIME *end)
    int X509_check_host "hs_openssl.X509_check_host" (
        X509 *certificate, const char *name, size_t length, unsigned int flags, char **peer)
    int X509_check_issued "hs_openssl.X509_check_issued" (X509 *issuer, X509 *subject)
    int OPENSSL_sk_num "hs_openssl.OPENSSL_sk_num" (const void *stack)
    void *OPENSSL_sk_value "hs_openssl.OPENSSL_sk_value" (const void *stack, int position)
    SSL *SSL_new "hs_openssl.SSL_new" (SSL_CTX *context)
    void SSL_free "hs_openssl.SSL_free" (SSL *ssl)
    void SSL_set_bio "hs_openssl.SSL_set_bio" (SSL *ssl, BIO *reads, BIO *writes)
    void SSL_set_accept_state "hs_openssl.SSL_set_accept_state" (SSL *ssl)
    int SSL_do_handshake "hs_openssl.SSL_do_handshake" (SSL *ssl)
    int SSL_read "hs_openssl.SSL_read" (SSL *ssl, void *data, int room)
    int SSL_write "hs_openssl.SSL_write" (SSL *ssl, const void *data, int length)
    int SSL_shutdown "hs_openssl.SSL_shutdown" (SSL *ssl)
    int SSL_get_error "hs_openssl.SSL_get_error" (const SSL *ssl, int result)
    int SSL_pending "hs_openssl.SSL_pending" (const SSL *ssl)
    int SSL_has_pending "hs_openssl.SSL_has_pending" (const SSL *ssl)
    const char *SSL_get_servername "hs_openssl.SSL_get_servername" (const SSL *ssl, int kind)
    SSL_CTX *SSL_set_SSL_CTX "hs_openssl.SSL_set_SSL_CTX" (SSL *ssl, SSL_CTX *context)
    BIO_METHOD *BIO_meth_new "hs_openssl.BIO_meth_new" (int kind, const char *name)
    int BIO_meth_set_write "hs_openssl.BIO_meth_set_write" (
        BIO_METHOD *method, int (*write)(BIO *, const char *, int) noexcept nogil)
    int BIO_meth_set_read "hs_openssl.BIO_meth_set_read" (
        BIO_METHOD *method, int (*read)(BIO *, char *, int) noexcept nogil)
    int BIO_meth_set_ctrl "hs_openssl.BIO_meth_set_ctrl" (
        BIO_METHOD *method, long (*ctrl)(BIO *, int, long, void *) noexcept nogil)
    BIO *BIO_new "hs_openssl.BIO_new" (const BIO_METHOD *method)
    void BIO_set_data "hs_openssl.BIO_set_data" (BIO *bio, void *data)
    void *BIO_get_data "hs_openssl.BIO_get_data" (BIO *bio)
    void BIO_set_init "hs_openssl.BIO_set_init" (BIO *bio, int ready)
    void BIO_set_flags "hs_openssl.BIO_set_flags" (BIO *bio, int flags)
    void BIO_clear_flags "hs_openssl.BIO_clear_flags" (BIO *bio, int flags)
    unsigned long ERR_get_error "hs_openssl.ERR_get_error" ()
    void ERR_clear_error "hs_openssl.ERR_clear_error" ()
    const char *ERR_reason_error_string "hs_openssl.ERR_reason_error_string" (unsigned long code)
    const EVP_MD *EVP_sha256 "hs_openssl.EVP_sha256" ()
    const EVP_CIPHER *EVP_aes_256_cbc "hs_openssl.EVP_aes_256_cbc" ()
    int EVP_Digest "hs_openssl.EVP_Digest" (
        const void *data, size_t length, unsigned char *digest, unsigned int *size, const EVP_MD *kind, void *engine)
    int EVP_EncryptInit_ex "hs_openssl.EVP_EncryptInit_ex" (
        EVP_CIPHER_CTX *cipher, const EVP_CIPHER *kind, void *engine, const unsigned char *key,
        const unsigned char *iv)
    int EVP_DecryptInit_ex "hs_openssl.EVP_DecryptInit_ex" (
        EVP_CIPHER_CTX *cipher, const EVP_CIPHER *kind, void *engine, const unsigned char *key,
        const unsigned char *iv)
    int EVP_MAC_CTX_set_params "hs_openssl.EVP_MAC_CTX_set_params" (EVP_MAC_CTX *mac, const OSSL_PARAM *params)
    OSSL_PARAM OSSL_PARAM_construct_octet_string "hs_openssl.OSSL_PARAM_construct_octet_string" (
        const char *key, void *data, size_t length)
    OSSL_PARAM OSSL_PARAM_construct_utf8_string "hs_openssl.OSSL_PARAM_construct_utf8_string" (
        const char *key, char *text, size_t length)
    OSSL_PARAM OSSL_PARAM_construct_end "hs_openssl.OSSL_PARAM_construct_end" ()
    int RAND_bytes "hs_openssl.RAND_bytes" (unsigned char *data, int length)
