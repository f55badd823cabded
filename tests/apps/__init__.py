"""Small real applications of three frameworks, with the same routes, so that one suite drives them all.

/hello                text
/echo/<anything>      JSON of what was understood of the request, and its body's size and digest
/form                 JSON of the fields of a urlencoded form
/upload               JSON of name, size and digest of the file in a multipart form
/stream               lines from a generator
/live                 a line, and another once the test allows it
/file                 a file through wsgi.file_wrapper
/raise                an exception
/session              (Django only) a counter in a signed cookie
"""
