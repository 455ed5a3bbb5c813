cpdef bytes mask_part(
    bytes data, bytes keys, Py_ssize_t at, Py_ssize_t start, Py_ssize_t end
)
cpdef bytes build_frame(int first, bytes payload)
cpdef bytes read_some(int fd, Py_ssize_t size)
cpdef Py_ssize_t write_some(int fd, data) except -1
