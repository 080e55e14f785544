/* Preloaded into a server: notes, for every file, how many of its bytes were synced. run.py cuts files back to
 * what was noted, or to anything above, when it plays a power cut; a killed process alone loses nothing that it
 * has written, since the machine's page cache lives on.
 *
 * Each line of $POWERCUT_LOG: inode, and the size that the file had when a sync of it that succeeded began.
 * Removed or renamed files keep their inodes; names are not played with (the simulation does that). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int notes = -1;

/* Opened at once, far from the descriptors that a server counts on. */
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("POWERCUT_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd < 0) return;
    notes = fcntl(fd, F_DUPFD_CLOEXEC, 500);
    close(fd);
}

static int noted(int fd, const char *name) {
    struct stat before;
    int known = fstat(fd, &before) == 0 && S_ISREG(before.st_mode);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(fd);
    if (result == 0 && known && notes >= 0) {
        char line[64];
        int len = snprintf(line, sizeof line, "%lu %lld\n", (unsigned long)before.st_ino, (long long)before.st_size);
        if (write(notes, line, (size_t)len) != len) abort();
    }
    return result;
}

int fsync(int fd) { return noted(fd, "fsync"); }
int fdatasync(int fd) { return noted(fd, "fdatasync"); }
