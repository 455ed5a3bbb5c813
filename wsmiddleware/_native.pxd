cpdef bytes mask_part(
    bytes data, Py_ssize_t start, Py_ssize_t end, bytes keys, Py_ssize_t at, long long done
)
cpdef str mask_text(
    bytes data, Py_ssize_t start, Py_ssize_t end, bytes keys, Py_ssize_t at
)
cpdef bytes build_frame(int first, bytes payload)
cpdef bytes build_text_frame(str text)
cpdef bytes read_some(int fd, Py_ssize_t size)
cpdef Py_ssize_t write_pieces(int fd, list pieces) except -1
cpdef Py_ssize_t write_some(int fd, data) except -1
