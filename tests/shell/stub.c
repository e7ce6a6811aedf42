/* A program that says its own name on descriptor 9, whatever its arguments are. The name is the link's that was run, not argv[0].
   If MARKS is the path of a directory, the program creates a file with its own name there instead, because a script can close descriptors. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    char path[512];
    long length = readlink("/proc/self/exe", path, sizeof path - 2);
    if (length <= 0) return 3;
    path[length] = '\n';
    path[length + 1] = 0;
    char *name = strrchr(path, '/') + 1;
    long size = path + length + 1 - name;
#ifdef MARKS
    char mark[sizeof path + sizeof MARKS] = MARKS "/";
    path[length] = 0;
    if (open(strcat(mark, name), O_CREAT | O_WRONLY, 0644) < 0) return 3;
#else
    if (write(9, name, size) != size) return 3;
#endif
    /* `nay` and `nix` fail, so that what stands behind `||` runs too. */
    return name[0] == 'n';
}
