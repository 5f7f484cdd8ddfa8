/* bundle_folder.h: a temporary folder for a test of bundles, and what is in it. Included by one test program each. */
#ifndef QN_TESTS_BUNDLE_FOLDER_H
#define QN_TESTS_BUNDLE_FOLDER_H

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char bundle_path[64];
static int bundle_fd = -1;

static inline int make_bundle_folder_in(const char *parent)
{
    (void)snprintf(bundle_path, sizeof bundle_path, "%s/qanat-test-bundle-XXXXXX", parent);
    if (mkdtemp(bundle_path) == NULL) {
        return -1;
    }
    bundle_fd = open(bundle_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return bundle_fd >= 0 ? 0 : -1;
}

/* On a disk, with what its fsyncs cost. */
static inline int make_bundle_folder_on_disk(void **state)
{
    (void)state;
    return make_bundle_folder_in("/tmp");
}

/* In memory, where that is to be had. */
static inline int make_bundle_folder(void **state)
{
    (void)state;
    return make_bundle_folder_in("/dev/shm") == 0 ? 0 : make_bundle_folder_in("/tmp");
}

static inline void remove_tree(int parent_fd, const char *name)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        (void)unlinkat(parent_fd, name, 0);
        return;
    }
    DIR *entries = fdopendir(fd);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            remove_tree(fd, entry->d_name);
        }
    }
    (void)closedir(entries);
    (void)unlinkat(parent_fd, name, AT_REMOVEDIR);
}

static inline int remove_bundle_folder(void **state)
{
    (void)state;
    (void)close(bundle_fd);
    remove_tree(AT_FDCWD, bundle_path);
    return access(bundle_path, F_OK) == 0 ? -1 : 0;
}

/* Files below a folder of the bundle whose names begin so. */
static inline int count_beginning(const char *folder, const char *beginning)
{
    int fd = openat(bundle_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    int count = 0;
    DIR *entries = fdopendir(fd);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        bool self = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        count += !self && strncmp(entry->d_name, beginning, strlen(beginning)) == 0;
    }
    (void)closedir(entries);
    return count;
}

#endif
