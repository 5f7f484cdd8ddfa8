/*
 * classify.c: for check_network_classes.py: addresses from standard input, one a line, to the number of their class.
 */
#include "processor/network_policy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    char line[128];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        struct qn_network_address address = { .family = strchr(line, ':') != NULL ? AF_INET6 : AF_INET };
        if (inet_pton(address.family, line, address.bytes) != 1) {
            (void)fprintf(stderr, "not an address: %s\n", line);
            return 1;
        }
        (void)printf("%d\n", (int)qn_network_classify(&address));
    }
    return 0;
}
