// Kind native:default:  cc -O2 -o hello hello.c
#include <stdio.h>
#include <string.h>

int main(void) {
    static char call[1 << 20];
    FILE *answers = fdopen(3, "w");
    while (fgets(call, sizeof call, stdin)) {
        char name[64] = "world", *at = strstr(call, "\"name\":\"");
        if (at) sscanf(at + 8, "%63[^\"]", name);
        fprintf(answers, "{\"hello\":\"%s\",\"from\":\"C\"}\n", name);
        fflush(answers);
    }
}
