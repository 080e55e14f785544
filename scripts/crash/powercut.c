/* Preloaded into a server: notes, for every file, how many of its bytes were synced. run.py cuts files back to
 * what was noted, or to anything above, when it plays a power cut; a killed process alone loses nothing that it
 * has written, since the machine's page cache lives on.
 *
 * Each line of $POWERCUT_LOG: inode, and the size that the file had when a sync of it that succeeded began.
 * Removed or renamed files keep their inodes; names are not played with (the simulation does that). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *notes;
/* One sync at a time: the last note of a file is to be that of its last sync. */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

/* A child has one thread: nobody is left to unlock what another one held. */
static void in_child(void) { pthread_mutex_init(&order, NULL); }

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("POWERCUT_LOG");
    /* A server may write its title over the environment. */
    notes = path ? strdup(path) : NULL;
    pthread_atfork(NULL, NULL, in_child);
}

/* Opened for each note: a server's child closes every descriptor that it does not know. */
static void note(unsigned long inode, long long size) {
    char line[64];
    int len = snprintf(line, sizeof line, "%lu %lld\n", inode, size);
    int fd = open(notes, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, (size_t)len) != len) abort();
    close(fd);
}

static int noted(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    if (notes == NULL || fstat(fd, &before) != 0 || !S_ISREG(before.st_mode)) return real(fd);
    pthread_mutex_lock(&order);
    fstat(fd, &before);
    int result = real(fd);
    if (result == 0) note(before.st_ino, before.st_size);
    pthread_mutex_unlock(&order);
    return result;
}

int fsync(int fd) { return noted(fd, "fsync"); }
int fdatasync(int fd) { return noted(fd, "fdatasync"); }
