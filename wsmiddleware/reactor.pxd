cdef class Waiter:
    cpdef bint wait(self, timeout=*) except -1
    cpdef wake(self)
    cpdef wake_now(self)
    cpdef give_way(self)


cdef class GreenletWaiter(Waiter):
    cdef object _hub, _greenlet
    cpdef bint wait(self, timeout=*) except -1
    cpdef wake(self)
    cpdef wake_now(self)
    cpdef give_way(self)
