/* attempts.h: what the jail tries, by name. */
#ifndef QN_TEST_ATTEMPTS_H
#define QN_TEST_ATTEMPTS_H

/* Try it: 0 where it worked, else errno; -1 where there is no attempt of this name. `argument`: see the attempt. */
int attempt(const char *name, const char *argument);

#endif
