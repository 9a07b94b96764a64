// Tables of results: a line for each row, in which what repeats is counted.
#include "checks.h"
#include <linux/capability.h>
#include <stdarg.h>
#define COUNT(a) (int)(sizeof(a) / sizeof *(a))
static char told_last[64];
static int told_times;
static void told(void) {
    if (told_times > 1) printf(" %s*%d", told_last, told_times);
    else if (told_times) printf(" %s", told_last);
    told_times = 0;
}
static void tell(const char *form, ...) {
    char now[64];
    va_list arguments;
    va_start(arguments, form), vsnprintf(now, sizeof now, form, arguments), va_end(arguments);
    if (told_times && strcmp(now, told_last)) told();
    strcpy(told_last, now), told_times++;
}
static void row(void) { told(), puts(""); }
// Rows of the same results under one head: everything between `rows` and `same_rows` is one row, told when another follows.
static char *row_text, *row_before;
static size_t row_size;
static FILE *row_out;
static char row_first[99], row_last[99];
static void rows_end(void) {
    if (row_before && strcmp(row_first, row_last)) printf("%s to %s:%s", row_first, row_last, row_before);
    else if (row_before) printf("%s:%s", row_first, row_before);
    free(row_before), row_before = 0;
}
static void rows(void) { row_out = stdout, stdout = open_memstream(&row_text, &row_size); }
static void same_rows(const char *name) {
    fclose(stdout), stdout = row_out;
    if (row_before && strcmp(row_before, row_text)) rows_end();
    if (!row_before) row_before = row_text, strcpy(row_first, name);
    else free(row_text);
    strcpy(row_last, name);
}
// A call's result, large ones by their name alone.
static void tell_result(long r) {
    if (r == -1) tell("-%s", strerrorname_np(errno));
    else if (r > 1l << 30) tell("large");
    else tell("%ld", r);
}
// Gives up the rights that root has on the one system and has not on the other.
static void without_rights(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    syscall(SYS_capset, &head, none);
}
