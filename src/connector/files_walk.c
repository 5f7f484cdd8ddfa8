/*
 * files_walk.c: the files below a folder, and opening one of them without leaving the folder.
 *
 * Folders are read whole, sorted and then visited, so that the order is always the same; one descriptor a level is open.
 * Names are bytes here: whoever takes a path decides whether it can be a text. What is neither a file nor a folder (pipes,
 * sockets, devices) is no data and is passed over. Links to files are told, wherever they lead: opening decides.
 * Links to folders are entered only where links are followed, and never in a circle. Threads: no state.
 */
#include "base/memory.h"
#include "base/text.h"
#include "connector/builtin.h"
#include "connector/files_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <qanat/plugin/driver.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_DEPTH     128 /* folders in folders */
#define OPEN_ATTEMPTS 16  /* while names are changed under us */
#define FILE_FLAGS    (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* ---- opening ---- */

static enum qn_status check_path(const char *path, const char *shown, struct qn_error *err)
{
    bool right = path[0] != '\0' && path[0] != '/';
    for (const char *part = path; right && *part != '\0';) {
        size_t size = strcspn(part, "/");
        right = size > 0 && !(size == 1 && part[0] == '.') && !(size == 2 && part[0] == '.' && part[1] == '.');
        part += size;
        right = right && !(part[0] == '/' && part[1] == '\0');
        part += part[0] == '/';
    }
    return right ? QN_OK
                 : qn_error_set(err, QN_ERR_ARGUMENT, "\"%s\" is not the path of a file below the folder", shown);
}

/* Where the kernel has no openat2: folder by folder, through no link at all. */
static int open_by_parts(int root_fd, const char *path)
{
    char name[NAME_MAX + 1];
    int fd = root_fd;
    for (const char *part = path;;) {
        size_t size = strcspn(part, "/");
        bool last = part[size] == '\0';
        if (size > NAME_MAX) {
            errno = ENAMETOOLONG;
            size = 0;
        }
        memcpy(name, part, size);
        name[size] = '\0';
        int next = size == 0 ? -1
                   : last    ? openat(fd, name, FILE_FLAGS | O_NOFOLLOW)
                             : openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd != root_fd) {
            int error = errno;
            (void)close(fd);
            errno = error;
        }
        if (next < 0 || last) {
            return next;
        }
        fd = next;
        part += size + 1;
    }
}

static int open_beneath(int root_fd, const char *path)
{
    struct open_how how = { .flags = FILE_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    long fd = -1;
    errno = EAGAIN;
    for (int i = 0; i < OPEN_ATTEMPTS && fd < 0 && (errno == EAGAIN || errno == EINTR); i++) {
        fd = syscall(SYS_openat2, root_fd, path, &how, sizeof how);
    }
    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
        return open_by_parts(root_fd, path);
    }
    return (int)fd;
}

enum qn_status qn__files_open(int root_fd, const char *path, bool follow_links, const char *shown, int *fd_out,
                              struct qn_error *err)
{
    QN_TRY(check_path(path, shown, err));
    int fd = follow_links ? openat(root_fd, path, FILE_FLAGS) : open_beneath(root_fd, path);
    if (fd >= 0) {
        *fd_out = fd;
        return QN_OK;
    }
    if (!follow_links && (errno == EXDEV || errno == ELOOP)) {
        enum qn_status status = qn_error_set(err, QN_ERR_IO, "\"%s\" is a link that leads out of the folder", shown);
        qn_error_hint(err, "the argument \"follow_links\" as \"true\" allows that");
        return status;
    }
    return qn_error_set(err, QN_ERR_IO, "\"%s\" cannot be opened: %s", shown, strerror(errno));
}

/* ---- walking ---- */

struct level {
    const struct level *above;
    dev_t device;
    ino_t inode;
    int depth;
};

struct walker {
    const struct qn_files_walk *walk;
    qn_files_callback each;
    void *context;
    struct qn_buffer path; /* of what is being visited */
};

enum entry_kind { ENTRY_NONE, ENTRY_FILE, ENTRY_FOLDER };

struct entries {
    char **names; /* the first byte is the enum entry_kind */
    size_t n, capacity;
};

static void entries_dispose(struct entries *entries)
{
    for (size_t i = 0; i < entries->n; i++) {
        qn_free(entries->names[i]);
    }
    qn_free(entries->names);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(*(char *const *)a + 1, *(char *const *)b + 1);
}

/* What a name is to us; a link counts as what it leads to, one that leads nowhere or out of the folder as a file. */
static enum entry_kind kind_of(const struct walker *walker, int fd, const struct dirent *entry)
{
    struct stat found;
    if (entry->d_type == DT_REG || entry->d_type == DT_DIR) {
        return entry->d_type == DT_REG ? ENTRY_FILE : ENTRY_FOLDER;
    }
    if (entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN) {
        return ENTRY_NONE;
    }
    if (fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0) {
        return ENTRY_NONE; /* gone meanwhile */
    }
    if (S_ISLNK(found.st_mode)) {
        if (fstatat(fd, entry->d_name, &found, 0) != 0) {
            return ENTRY_FILE;
        }
        if (S_ISDIR(found.st_mode)) {
            return walker->walk->follow_links ? ENTRY_FOLDER : ENTRY_NONE;
        }
    }
    return S_ISREG(found.st_mode) ? ENTRY_FILE : S_ISDIR(found.st_mode) ? ENTRY_FOLDER : ENTRY_NONE;
}

static enum qn_status add_entry(struct entries *entries, enum entry_kind kind, const char *name, struct qn_error *err)
{
    if (entries->n == entries->capacity) {
        size_t capacity = entries->capacity * 2 + 16;
        char **longer = qn_realloc_array(entries->names, capacity, sizeof *longer);
        if (longer == NULL) {
            return qn__no_memory(err);
        }
        entries->names = longer;
        entries->capacity = capacity;
    }
    size_t size = strlen(name);
    char *copy = qn_malloc(size + 2);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    copy[0] = (char)kind;
    memcpy(copy + 1, name, size + 1);
    entries->names[entries->n++] = copy;
    return QN_OK;
}

static enum qn_status folder_failed(const struct walker *walker, struct qn_error *err)
{
    char shown[256];
    int error = errno;
    return qn_error_set(
        err, QN_ERR_IO, "folder \"%s%s%s\" cannot be read: %s", walker->walk->root, walker->path.size > 0 ? "/" : "",
        qn_shown(qn_buffer_text(&walker->path), walker->path.size, shown, sizeof shown), strerror(error));
}

/* All names of a folder, sorted. `folder` is closed by the caller. */
static enum qn_status read_folder(const struct walker *walker, DIR *folder, struct entries *entries,
                                  struct qn_error *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL) {
            break;
        }
        const char *name = entry->d_name;
        bool dots = name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
        enum entry_kind kind = dots ? ENTRY_NONE : kind_of(walker, dirfd(folder), entry);
        if (kind != ENTRY_NONE) {
            QN_TRY(add_entry(entries, kind, name, err));
        }
        if (entries->n % 1024 == 0) {
            QN_TRY(qn_interrupt_poll(err));
        }
    }
    if (errno != 0) {
        return folder_failed(walker, err);
    }
    if (entries->n > 0) {
        qsort(entries->names, entries->n, sizeof *entries->names, compare_entries);
    }
    return QN_OK;
}

static bool is_wanted(const struct walker *walker, const char *name)
{
    const struct qn_files_walk *walk = walker->walk;
    if (walk->pattern == NULL) {
        return walk->hidden || name[0] != '.';
    }
    return qn__pattern_matches(walk->pattern, walk->by_name ? name : walker->path.data, walk->hidden);
}

static bool is_entered(const struct walker *walker, const char *name)
{
    const struct qn_files_walk *walk = walker->walk;
    if (walk->pattern == NULL || walk->by_name) {
        return walk->recursive && (walk->hidden || name[0] != '.');
    }
    return qn__pattern_leads_into(walk->pattern, walker->path.data, walk->hidden);
}

static enum qn_status walk_folder(struct walker *walker, int fd, const struct level *above, struct qn_error *err);

static enum qn_status enter(struct walker *walker, int parent, const char *name, const struct level *level,
                            struct qn_error *err)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (walker->walk->follow_links ? 0 : O_NOFOLLOW);
    int fd = openat(parent, name, flags);
    if (fd < 0) {
        bool gone = errno == ENOENT || errno == ENOTDIR || errno == ELOOP; /* since its name was read */
        return gone ? QN_OK : folder_failed(walker, err);
    }
    return walk_folder(walker, fd, level, err);
}

static enum qn_status visit(struct walker *walker, int fd, const char *entry, const struct level *level,
                            struct qn_error *err)
{
    const char *name = entry + 1;
    size_t size = walker->path.size;
    enum qn_status status = QN_OK;
    qn_buffer_printf(&walker->path, "%s%s", size > 0 ? "/" : "", name);
    QN_TRY(qn_buffer_check(&walker->path, "a path", err));
    if (entry[0] == ENTRY_FILE) {
        status = is_wanted(walker, name) ? walker->each(walker->context, walker->path.data, err) : QN_OK;
    } else if (is_entered(walker, name)) {
        status = enter(walker, fd, name, level, err);
    }
    walker->path.size = size;
    walker->path.data[size] = '\0';
    return status;
}

/* `fd` is closed here. */
static enum qn_status walk_folder(struct walker *walker, int fd, const struct level *above, struct qn_error *err)
{
    struct stat found;
    struct entries entries = { .n = 0 };
    struct level level = { .above = above, .depth = above != NULL ? above->depth + 1 : 0 };
    DIR *folder = fstat(fd, &found) == 0 ? fdopendir(fd) : NULL;
    if (folder == NULL) {
        enum qn_status status = folder_failed(walker, err);
        (void)close(fd);
        return status;
    }
    level.device = found.st_dev;
    level.inode = found.st_ino;
    bool circle = false;
    for (const struct level *up = above; up != NULL; up = up->above) {
        circle |= up->device == level.device && up->inode == level.inode;
    }
    enum qn_status status = QN_OK;
    if (level.depth > MAX_DEPTH) {
        status = qn_error_set(err, QN_ERR_IO, "folder \"%s\": more than %d folders in folders", walker->walk->root,
                              MAX_DEPTH);
    } else if (!circle) {
        status = read_folder(walker, folder, &entries, err);
    }
    for (size_t i = 0; status == QN_OK && i < entries.n; i++) {
        status = visit(walker, fd, entries.names[i], &level, err);
    }
    entries_dispose(&entries);
    (void)closedir(folder);
    return status;
}

enum qn_status qn__files_walk(const struct qn_files_walk *walk, qn_files_callback each, void *context,
                              struct qn_error *err)
{
    struct walker walker = { .walk = walk, .each = each, .context = context };
    int fd = openat(walk->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum qn_status status = fd >= 0 ? walk_folder(&walker, fd, NULL, err) : folder_failed(&walker, err);
    qn_buffer_dispose(&walker.path);
    return status;
}
