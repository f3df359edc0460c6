package keeper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPid reads si_pid, which stands at byte 16 on 64-bit Linux (three ints
// and four bytes of alignment before it) and at byte 12 on 32-bit.
func siginfoPid(info *unix.Siginfo) int {
	offset := uintptr(12)
	if unsafe.Sizeof(uintptr(0)) == 8 {
		offset = 16
	}
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
