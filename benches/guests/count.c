// A QEMU plugin that counts the guest's instructions, in memory shared through the file named by COUNT_FILE. For one
// vCPU: the count is not atomic. The file is an array of 64-bit words: the count, how many marks there are, the count at
// each mark, and last how many blocks QEMU has translated. A mark is where the guest executed `xchg %bx, %bx` (an
// instruction that does nothing and that compilers do not make), and where a function begins and returns if COUNT_FROM and
// COUNT_TO say in hexadecimal from which address to which it lies. Declares what it uses of QEMU's plugin interface (version 1),
// which no package carries.
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translated)(uint64_t, struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, translated);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);

int qemu_plugin_version = 1;
#define MARKS 253
static struct shared {
  uint64_t instructions, marks, at[MARKS], translated;
} *count;

static uint64_t from, to;

static int is_mark(const struct qemu_plugin_insn *insn) {
  uint64_t at = qemu_plugin_insn_vaddr(insn);
  size_t size = qemu_plugin_insn_size(insn);
  const char *data = qemu_plugin_insn_data(insn);
  if (size == 3 && !memcmp(data, "\x66\x87\xdb", 3)) return 1;
  return from && (at == from || (from < at && at < to && size == 1 && *data == '\xc3'));
}

static void on_mark(unsigned cpu, void *data) {
  if (count->marks < MARKS) count->at[count->marks++] = count->instructions;
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *block) {
  size_t n = qemu_plugin_tb_n_insns(block);
  count->translated++;
  qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &count->instructions, n);
  for (size_t i = 0; i < n; i++) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
    if (is_mark(insn))
      qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, 0, NULL);
  }
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  // Without what an earlier run has left there.
  int file = open(getenv("COUNT_FILE"), O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || ftruncate(file, sizeof *count)) return -1;
  count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (count == MAP_FAILED) return -1;
  const char *begin = getenv("COUNT_FROM"), *end = getenv("COUNT_TO");
  if (begin && end) {
    from = strtoull(begin, NULL, 16);
    to = strtoull(end, NULL, 16);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  return 0;
}
