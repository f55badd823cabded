/* The part of OpenSSL 3 that TLS needs, found when it is first asked for.
 *
 * The libraries are opened with dlopen(3) by the names that OpenSSL gives them while their interface stays compatible
 * (libssl.so.3). So nothing of OpenSSL is needed to build halfsync, and no process loads it that speaks no TLS. The
 * prototypes and constants are those of OpenSSL 3's manual pages; all types are opaque.
 */
#ifndef HALFSYNC_OPENSSL_H
#define HALFSYNC_OPENSSL_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct x509_st X509;
typedef struct asn1_time_st ASN1_TIME;
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_md_st EVP_MD;
typedef struct evp_cipher_st EVP_CIPHER;
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct evp_mac_ctx_st EVP_MAC_CTX;
typedef struct ossl_param_st { const char *key; unsigned int data_type; void *data; size_t data_size, return_size; } OSSL_PARAM;
typedef int hs_password_callback(char *buffer, int size, int writing, void *data);
typedef int hs_alpn_callback(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *offered,
                             unsigned int length, void *argument);
typedef int hs_name_callback(SSL *ssl, int *alert, void *argument);
typedef int hs_ticket_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                               EVP_MAC_CTX *mac, int encrypts);

enum {
    HS_SSL_ERROR_SSL = 1, HS_SSL_ERROR_WANT_READ = 2, HS_SSL_ERROR_WANT_WRITE = 3, HS_SSL_ERROR_SYSCALL = 5,
    HS_SSL_ERROR_ZERO_RETURN = 6,
    HS_FILETYPE_PEM = 1,
    HS_MODE_PARTIAL_WRITE = 1, HS_MODE_MOVING_BUFFER = 2, HS_MODE_RELEASE_BUFFERS = 16,
    HS_CTRL_MODE = 33, HS_CTRL_READ_AHEAD = 41, HS_CTRL_SESS_CACHE_MODE = 44, HS_CTRL_SET_GROUPS_LIST = 92,
    HS_CTRL_SET_MIN_PROTO_VERSION = 123, HS_CTRL_SET_TLSEXT_SERVERNAME_ARG = 54,
    HS_CALLBACK_SERVERNAME = 53,
    HS_TLSEXT_OK = 0, HS_TLSEXT_ALERT_FATAL = 2, HS_TLSEXT_NOACK = 3,
    HS_CTRL_GET_CHAIN_CERTS = 115,
    HS_BIO_CTRL_EOF = 2, HS_BIO_CTRL_FLUSH = 11, HS_BIO_FLAGS_READ = 1, HS_BIO_FLAGS_WRITE = 2, HS_BIO_FLAGS_RETRY = 8,
    HS_BIO_FLAGS_ALL = 15, HS_BIO_TYPE_SOURCE_SINK = 0x400,
    HS_INIT_NO_ATEXIT = 0x80000
};
#define HS_OP_NO_COMPRESSION (1ULL << 17)
#define HS_OP_NO_RENEGOTIATION (1ULL << 30)
#define HS_OP_IGNORE_UNEXPECTED_EOF (1ULL << 7)
#define HS_OP_CIPHER_SERVER_PREFERENCE (1ULL << 22)
#define HS_OP_PRIORITIZE_CHACHA (1ULL << 21)

/* Every function that is used: result, name, arguments. The libraries are searched for each, libssl first. */
#define HS_OPENSSL_FUNCTIONS(F) \
    F(const SSL_METHOD *, TLS_server_method, (void)) \
    F(SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *)) \
    F(void, SSL_CTX_free, (SSL_CTX *)) \
    F(uint64_t, SSL_CTX_set_options, (SSL_CTX *, uint64_t)) \
    F(long, SSL_CTX_ctrl, (SSL_CTX *, int, long, void *)) \
    F(long, SSL_CTX_callback_ctrl, (SSL_CTX *, int, void (*)(void))) \
    F(int, SSL_CTX_set_cipher_list, (SSL_CTX *, const char *)) \
    F(int, SSL_CTX_set_ciphersuites, (SSL_CTX *, const char *)) \
    F(int, SSL_CTX_use_certificate_chain_file, (SSL_CTX *, const char *)) \
    F(int, SSL_CTX_use_PrivateKey_file, (SSL_CTX *, const char *, int)) \
    F(int, SSL_CTX_check_private_key, (const SSL_CTX *)) \
    F(void, SSL_CTX_set_default_passwd_cb, (SSL_CTX *, hs_password_callback *)) \
    F(void, SSL_CTX_set_default_passwd_cb_userdata, (SSL_CTX *, void *)) \
    F(void, SSL_CTX_set_alpn_select_cb, (SSL_CTX *, hs_alpn_callback *, void *)) \
    F(int, SSL_CTX_set_tlsext_ticket_key_evp_cb, (SSL_CTX *, hs_ticket_callback *)) \
    F(int, SSL_CTX_set_session_id_context, (SSL_CTX *, const unsigned char *, unsigned int)) \
    F(X509 *, SSL_CTX_get0_certificate, (const SSL_CTX *)) \
    F(const ASN1_TIME *, X509_get0_notAfter, (const X509 *)) \
    F(const ASN1_TIME *, X509_get0_notBefore, (const X509 *)) \
    F(int, ASN1_TIME_diff, (int *, int *, const ASN1_TIME *, const ASN1_TIME *)) \
    F(int, X509_check_host, (X509 *, const char *, size_t, unsigned int, char **)) \
    F(SSL *, SSL_new, (SSL_CTX *)) \
    F(void, SSL_free, (SSL *)) \
    F(void, SSL_set_bio, (SSL *, BIO *, BIO *)) \
    F(void, SSL_set_accept_state, (SSL *)) \
    F(int, SSL_do_handshake, (SSL *)) \
    F(int, SSL_read, (SSL *, void *, int)) \
    F(int, SSL_write, (SSL *, const void *, int)) \
    F(int, SSL_shutdown, (SSL *)) \
    F(int, SSL_get_error, (const SSL *, int)) \
    F(int, SSL_pending, (const SSL *)) \
    F(int, SSL_has_pending, (const SSL *)) \
    F(const char *, SSL_get_servername, (const SSL *, int)) \
    F(SSL_CTX *, SSL_set_SSL_CTX, (SSL *, SSL_CTX *)) \
    F(BIO_METHOD *, BIO_meth_new, (int, const char *)) \
    F(int, BIO_meth_set_write, (BIO_METHOD *, int (*)(BIO *, const char *, int))) \
    F(int, BIO_meth_set_read, (BIO_METHOD *, int (*)(BIO *, char *, int))) \
    F(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *))) \
    F(BIO *, BIO_new, (const BIO_METHOD *)) \
    F(void, BIO_set_data, (BIO *, void *)) \
    F(void *, BIO_get_data, (BIO *)) \
    F(void, BIO_set_init, (BIO *, int)) \
    F(void, BIO_set_flags, (BIO *, int)) \
    F(void, BIO_clear_flags, (BIO *, int)) \
    F(unsigned long, ERR_get_error, (void)) \
    F(void, ERR_clear_error, (void)) \
    F(const char *, ERR_reason_error_string, (unsigned long)) \
    F(const EVP_MD *, EVP_sha256, (void)) \
    F(const EVP_CIPHER *, EVP_aes_256_cbc, (void)) \
    F(int, EVP_Digest, (const void *, size_t, unsigned char *, unsigned int *, const EVP_MD *, void *)) \
    F(int, EVP_EncryptInit_ex, (EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *)) \
    F(int, EVP_DecryptInit_ex, (EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *)) \
    F(int, EVP_MAC_CTX_set_params, (EVP_MAC_CTX *, const OSSL_PARAM *)) \
    F(OSSL_PARAM, OSSL_PARAM_construct_octet_string, (const char *, void *, size_t)) \
    F(OSSL_PARAM, OSSL_PARAM_construct_utf8_string, (const char *, char *, size_t)) \
    F(OSSL_PARAM, OSSL_PARAM_construct_end, (void)) \
    F(int, X509_check_issued, (X509 *, X509 *)) \
    F(int, OPENSSL_sk_num, (const void *)) \
    F(void *, OPENSSL_sk_value, (const void *, int)) \
    F(int, OPENSSL_init_crypto, (uint64_t, const void *)) \
    F(int, RAND_bytes, (unsigned char *, int))

#define HS_MEMBER(result, name, arguments) result (*name) arguments;
static struct { HS_OPENSSL_FUNCTIONS(HS_MEMBER) } hs_openssl;
#undef HS_MEMBER

/* Open the libraries, once. Returns NULL, or what is missing. Not for two threads at a time. */
static const char *hs_openssl_load(const char *ssl_name, const char *crypto_name) {
    static int loaded;
    static char missing[256];
    void *ssl, *crypto;
    if (loaded)
        return NULL;
    crypto = dlopen(crypto_name, RTLD_NOW | RTLD_LOCAL);
    ssl = crypto == NULL ? NULL : dlopen(ssl_name, RTLD_NOW | RTLD_LOCAL);
    if (ssl == NULL) {
        const char *why = dlerror();
        snprintf(missing, sizeof(missing), "%s", why == NULL ? ssl_name : why);
        return missing;
    }
#define HS_FIND(result, name, arguments) \
    hs_openssl.name = (result (*) arguments)dlsym(ssl, #name); \
    if (hs_openssl.name == NULL) \
        hs_openssl.name = (result (*) arguments)dlsym(crypto, #name); \
    if (hs_openssl.name == NULL) { \
        snprintf(missing, sizeof(missing), "%s has no %s", ssl_name, #name); \
        return missing; \
    }
    HS_OPENSSL_FUNCTIONS(HS_FIND)
#undef HS_FIND
    /* Its threads may still run when the process ends, so nothing of it is freed then. */
    hs_openssl.OPENSSL_init_crypto(HS_INIT_NO_ATEXIT, NULL);
    loaded = 1;
    return NULL;
}

#endif
