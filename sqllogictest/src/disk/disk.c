/* A disk that may fill up, fail and lose power: loaded into the server (LD_PRELOAD), below its
 * storage, where RocksDB and our own files call the system.
 *
 *   DISK_ROOT     the directory that is on this disk
 *   DISK_CONTROL  what tests switch on and off while the server runs: the disk is
 *                   full           if there is a file of this name: writes are short, then ENOSPC
 *                   failing_writes writes and allocations give EIO
 *                   failing_syncs  fsync and fdatasync give EIO
 *   DISK_SHADOW   where everything is kept that has been synced, and nothing else:
 *                   files/ID       the bytes of a file when its last sync began
 *                   dirs/PATH      the names and IDs that a directory had then; / is written %
 *
 * What POSIX promises is taken by the letter: a file that was synced is lost if its directory was
 * not, and a rename or removal comes with a sync of the directory only. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t shadow_lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int next_write_fails;

/* The path of an open file if it is on the disk. */
static int on_disk(int fd, char *path) {
    const char *root = getenv("DISK_ROOT");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = root ? readlink(link, path, PATH_MAX - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    size_t of_root = strlen(root);
    return strncmp(path, root, of_root) == 0 && (path[of_root] == '/' || path[of_root] == 0);
}

static int is_on(const char *name) {
    const char *control = getenv("DISK_CONTROL");
    char path[PATH_MAX];
    if (!control) return 0;
    snprintf(path, sizeof path, "%s/%s", control, name);
    return access(path, F_OK) == 0;
}

/* How many bytes may be written; -1 with errno if none. */
static ssize_t allowed(int fd, size_t count) {
    char path[PATH_MAX];
    if (!on_disk(fd, path)) return (ssize_t)count;
    if (is_on("failing_writes")) {
        errno = EIO;
        return -1;
    }
    if (!is_on("full")) return (ssize_t)count;
    if (count > 1 && !next_write_fails) {
        next_write_fails = 1;
        return (ssize_t)(count / 2);
    }
    next_write_fails = 0;
    errno = ENOSPC;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t may = count ? allowed(fd, count) : 0;
    return may < 0 ? -1 : REAL(write)(fd, bytes, (size_t)may);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    ssize_t may = count ? allowed(fd, count) : 0;
    return may < 0 ? -1 : REAL(pwrite)(fd, bytes, (size_t)may, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    ssize_t may = count ? allowed(fd, count) : 0;
    return may < 0 ? -1 : REAL(pwrite64)(fd, bytes, (size_t)may, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (!on_disk(fd, path)) return REAL(writev)(fd, parts, count);
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return write(fd, parts[i].iov_base, parts[i].iov_len);
    return 0;
}

static int may_allocate(int fd) {
    char path[PATH_MAX];
    if (!on_disk(fd, path)) return 0;
    return is_on("failing_writes") ? EIO : is_on("full") ? ENOSPC : 0;
}

int fallocate(int fd, int mode, off_t at, off_t length) {
    int error = may_allocate(fd);
    if (error) {
        errno = error;
        return -1;
    }
    return REAL(fallocate)(fd, mode, at, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    int error = may_allocate(fd);
    if (error) {
        errno = error;
        return -1;
    }
    return REAL(fallocate64)(fd, mode, at, length);
}

/* Inode numbers are used again; together with the time of creation they are not. */
static int id_of(int directory, const char *name, char *id, size_t size) {
    struct statx facts;
    int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
    if (statx(directory, name, flags, STATX_INO | STATX_BTIME, &facts)) return -1;
    snprintf(id, size, "%llu-%lld-%u", (unsigned long long)facts.stx_ino,
             (long long)facts.stx_btime.tv_sec, facts.stx_btime.tv_nsec);
    return 0;
}

static void keep_file(int fd, const char *shadow, const char *path, char *new, char *kept) {
    char id[96];
    static __thread char buffer[1 << 16];
    if (id_of(fd, "", id, sizeof id)) abort();
    snprintf(kept, PATH_MAX, "%s/files/%s", shadow, id);
    snprintf(new, PATH_MAX, "%s/files/%s.new", shadow, id);
    /* Our descriptor may be for writing only; the name may be gone. */
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int from = open(link, O_RDONLY | O_CLOEXEC);
    int to = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (from < 0 || to < 0) abort();
    ssize_t count;
    while ((count = read(from, buffer, sizeof buffer)) > 0)
        if (REAL(write)(to, buffer, (size_t)count) != count) abort();
    close(from);
    close(to);
    (void)path;
}

static void keep_directory(int fd, const char *shadow, const char *path, char *new, char *kept) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s", path + strlen(getenv("DISK_ROOT")));
    for (char *at = name; *at; at++)
        if (*at == '/') *at = '%';
    snprintf(kept, PATH_MAX, "%s/dirs/root%s", shadow, name);
    snprintf(new, PATH_MAX, "%s/dirs/root%s.new", shadow, name);
    DIR *entries = opendir(path);
    FILE *to = fopen(new, "we");
    if (!entries || !to) abort();
    struct dirent *entry;
    while ((entry = readdir(entries))) {
        char id[96];
        if (entry->d_name[0] == '.' && (!entry->d_name[1] || entry->d_name[1] == '.')) continue;
        /* It may have been removed meanwhile. */
        if (id_of(dirfd(entries), entry->d_name, id, sizeof id) == 0)
            fprintf(to, "%s\t%s\n", id, entry->d_name);
    }
    closedir(entries);
    fclose(to);
    (void)fd;
}

static int sync_with(int fd, int (*real)(int)) {
    char path[PATH_MAX], new[PATH_MAX], kept[PATH_MAX];
    const char *shadow = getenv("DISK_SHADOW");
    if (!on_disk(fd, path)) return real(fd);
    if (is_on("failing_syncs")) {
        errno = EIO;
        return -1;
    }
    /* The shadow is the disk: there is no need to wait for the real one. */
    if (!shadow) return real(fd);
    struct stat facts;
    if (fstat(fd, &facts)) return -1;
    pthread_mutex_lock(&shadow_lock);
    if (S_ISDIR(facts.st_mode))
        keep_directory(fd, shadow, path, new, kept);
    else
        keep_file(fd, shadow, path, new, kept);
    int renamed = rename(new, kept);
    pthread_mutex_unlock(&shadow_lock);
    if (renamed) abort();
    return 0;
}

int fsync(int fd) { return sync_with(fd, REAL(fsync)); }

int fdatasync(int fd) { return sync_with(fd, REAL(fdatasync)); }
