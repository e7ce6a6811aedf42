/* A listed program that tries to execute or map a program that the list does not contain.
   Arguments: the unlisted program, and directories that the run may write. Each attempt prints one line: `refused NAME: ERROR` or
   `SUCCEEDED NAME`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REFUSED = 111, PAGE = 4096 };

static char *arguments[] = {"x", NULL};
extern char **environ;

static void tell(const char *name, int worked) {
    if (worked) printf("SUCCEEDED %s\n", name);
    else printf("refused %s: %s\n", name, strerror(errno));
    fflush(stdout);
}

static const char *with(const char *directory, const char *name) {
    static char text[8][512];
    static int next;
    char *place = text[next++ % 8];
    snprintf(place, 512, "%s%s", directory, name);
    return place;
}

/* Executes a path or a descriptor in a child. */
static void execute(const char *name, const char *path, int descriptor) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (path) execve(path, arguments, environ);
        else syscall(SYS_execveat, descriptor, "", arguments, environ, AT_EMPTY_PATH);
        tell(name, 0);
        _exit(REFUSED);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != REFUSED) tell(name, 1);
}

static void map(const char *name, int descriptor) {
    if (descriptor < 0) return tell(name, 0);
    tell(with(name, ", mapped"), mmap(0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, descriptor, 0) != MAP_FAILED);
    tell(with(name, ", mapped shared"), mmap(0, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, descriptor, 0) != MAP_FAILED);
    void *memory = mmap(0, PAGE, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (memory == MAP_FAILED) return;
    tell(with(name, ", mprotect"), mprotect(memory, PAGE, PROT_READ | PROT_EXEC) == 0);
    tell(with(name, ", pkey_mprotect"), syscall(SYS_pkey_mprotect, memory, PAGE, PROT_READ | PROT_EXEC, -1) == 0);
}

static void copy_of_myself(int to) {
    char bytes[65536];
    int from = open("/proc/self/exe", O_RDONLY);
    ssize_t count;
    while ((count = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, count) != count) break;
    close(from);
}

static void files_of_the_run(const char *program, const char *directory) {
    const char *name = with(directory, "/copy");
    int file = open(name, O_CREAT | O_RDWR | O_TRUNC, 0755);
    copy_of_myself(file);
    close(file);
    execute(with(directory, ": copy"), name, 0);
    map(with(directory, ": copy"), open(name, O_RDONLY));
    int script = open(with(directory, "/script"), O_CREAT | O_WRONLY | O_TRUNC, 0755);
    dprintf(script, "#!%s\n", program);
    close(script);
    execute(with(directory, ": script"), with(directory, "/script"), 0);
    int nameless = open(directory, O_TMPFILE | O_RDWR, 0755);
    if (nameless >= 0) {
        copy_of_myself(nameless);
        int again = open(with("/proc/self/fd/", (char[]){'0' + nameless, 0}), O_RDONLY);
        close(nameless);
        execute(with(directory, ": O_TMPFILE"), NULL, again);
        map(with(directory, ": O_TMPFILE"), again);
        close(again);
    }
    link(program, with(directory, "/hard"));
    execute(with(directory, ": hard link"), with(directory, "/hard"), 0);
    linkat(AT_FDCWD, "/proc/self/exe", AT_FDCWD, with(directory, "/own"), AT_SYMLINK_FOLLOW);
    execute(with(directory, ": hard link to the listed program"), with(directory, "/own"), 0);
    symlink(program, with(directory, "/symbolic"));
    execute(with(directory, ": symbolic link"), with(directory, "/symbolic"), 0);
    rename(program, with(directory, "/moved"));
    execute(with(directory, ": renamed program"), with(directory, "/moved"), 0);
}

static void other_processes(const char *program) {
    execute("exe of the first process", "/proc/1/exe", 0);
    execute("root of the first process", with("/proc/1/root", program), 0);
    map("exe of the first process", open("/proc/1/exe", O_RDONLY));
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    char memory[64], bytes[8] = {0};
    snprintf(memory, sizeof memory, "/proc/%d/mem", child);
    tell("memory file of a child", open(memory, O_RDWR) >= 0);
    tell("own memory file", open("/proc/self/mem", O_RDWR) >= 0);
    struct iovec from = {bytes, 8}, to = {(void *)tell, 8};
    tell("process_vm_writev", process_vm_writev(child, &from, 1, &to, 1, 0) > 0);
    tell("ptrace", ptrace(PTRACE_SEIZE, child, 0, 0) == 0);
    tell("userfaultfd", syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY) >= 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void memory_without_a_file(void) {
    static const int flags[] = {0, 0x8 /* MFD_NOEXEC_SEAL */, 0x10 /* MFD_EXEC */};
    for (int at = 0; at < 3; at++) {
        int file = syscall(SYS_memfd_create, "x", flags[at]);
        tell("memfd_create", file >= 0);
        if (file < 0) continue;
        copy_of_myself(file);
        execute("memfd", NULL, file);
    }
    map("/dev/zero", open("/dev/zero", O_RDWR));
    void *memory = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tell("anonymous memory, mprotect", mprotect(memory, PAGE, PROT_READ | PROT_EXEC) == 0);
    tell("anonymous memory, executable",
         mmap(0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    int segment = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0700);
    tell("shared segment", shmat(segment, 0, SHM_EXEC) != (void *)-1);
    void *attached = shmat(segment, 0, 0);
    tell("shared segment, mprotect", mprotect(attached, PAGE, PROT_READ | PROT_EXEC) == 0);
    shmctl(segment, IPC_RMID, 0);
    tell("personality", personality(READ_IMPLIES_EXEC) >= 0);
    /* Code of a listed program, changed in memory. */
    void *code = (void *)((unsigned long)tell & ~(unsigned long)(PAGE - 1));
    tell("own code, mprotect", mprotect(code, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
}

static void kernel_calls(const char *program) {
    char bytes[256] = {0};
    tell("io_uring", syscall(SYS_io_uring_setup, 1, bytes) >= 0);
    tell("mount", mount("none", "/tmp", "tmpfs", 0, 0) == 0);
    tell("remount", mount(NULL, "/tmp", NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
    tell("bind mount", mount("/usr", "/tmp", NULL, MS_BIND, NULL) == 0);
    tell("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/usr", 1) >= 0);
    tell("fsopen", syscall(SYS_fsopen, "tmpfs", 0) >= 0);
    tell("unshare", unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
    tell("chroot", chroot("/tmp") == 0);
    tell("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, bytes, 0) >= 0);
    tell("binfmt_misc", open("/proc/sys/fs/binfmt_misc/register", O_WRONLY) >= 0);
    tell("core_pattern", open("/proc/sys/kernel/core_pattern", O_WRONLY) >= 0);
    tell("write to the listed program", open("/proc/self/exe", O_WRONLY) >= 0);
#ifdef SYS_uselib
    tell("uselib", syscall(SYS_uselib, program) == 0);
#endif
}

int main(int count, char **words) {
    /* A copy of this program that runs has shown enough. */
    if (count < 2) return 0;
    const char *program = words[1];
    execute("execve", program, 0);
    int path = open(program, O_PATH);
    execute("execveat", NULL, path);
    execute("/proc/self/fd", with("/proc/self/fd/", (char[]){'0' + path, 0}), 0);
    execute("/dev/fd", with("/dev/fd/", (char[]){'0' + path, 0}), 0);
    close(path);
    map("the program", open(program, O_RDONLY));
    for (int at = 2; at < count; at++) files_of_the_run(program, words[at]);
    other_processes(program);
    memory_without_a_file();
    kernel_calls(program);
    puts("the end");
    return 0;
}
