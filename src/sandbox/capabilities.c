/*
 * capabilities.c: giving up every capability.
 *
 * The bounding and ambient sets and the secure bits can only be changed by who still has CAP_SETPCAP; where it is gone
 * already, they do not matter: nothing is executed later (and with no_new_privs nothing can be gained by it). What counts
 * is checked at the end: that no set of this process holds anything.
 */
#include "sandbox/lockdown.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum qn_status qn__capabilities_drop(struct qn_error *err)
{
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++) {
    }
    (void)prctl(PR_SET_SECUREBITS,
                SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                    SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
                0, 0, 0);
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { { 0, 0, 0 } };
    if (syscall(SYS_capset, &header, sets) != 0 || syscall(SYS_capget, &header, sets) != 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: capabilities: %m");
    }
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        if ((sets[i].effective | sets[i].permitted | sets[i].inheritable) != 0) {
            return qn_error_set(err, QN_ERR_INTERNAL, "lock-down: capabilities are left");
        }
    }
    return QN_OK;
}
