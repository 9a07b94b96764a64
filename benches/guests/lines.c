// A QEMU plugin that counts, for up to four vCPUs, the instructions that each executes and the lines of kernel memory (64 bytes, upper
// half of the address space) that it writes. The file named by COUNT_FILE is shared memory: four counts of instructions, then a hash
// table of lines. A line has moved when another vCPU writes it than did before: it then has to come from that one's cache.
// A read counts nothing: QEMU 7.2 calls back for reads although only writes are asked for. Declares what it uses of QEMU's plugin
// interface (version 1), which no package carries.
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned, uint32_t, uint64_t, void *), int, int, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern bool qemu_plugin_mem_is_store(uint32_t);

int qemu_plugin_version = 1;
#define CORES 4
#define LINES (1 << 21)
#define WRITES 2
static struct shared {
  uint64_t instructions[CORES];
  struct line {
    uint64_t number, at[CORES];
    uint32_t writes[CORES], moves, last;
  } lines[LINES];
} *count;

static void on_write(unsigned cpu, uint32_t info, uint64_t address, void *at) {
  if (!(address >> 63) || cpu >= CORES || !qemu_plugin_mem_is_store(info)) return;
  uint64_t number = address >> 6, hash = number * 0x9e3779b97f4a7c15 >> 20;
  for (int probe = 0; probe < 64; probe++) {
    struct line *line = &count->lines[(hash + probe) % LINES];
    if (!line->number) __sync_bool_compare_and_swap(&line->number, 0, number);
    if (line->number != number) continue;
    // Vcpus that write a line at the same time may lose a count.
    if (line->last != cpu + 1) {
      line->moves += line->last != 0;
      line->last = cpu + 1;
    }
    line->writes[cpu]++;
    line->at[cpu] = (uint64_t)at;
    return;
  }
}

static void on_block(unsigned cpu, void *instructions) {
  if (cpu < CORES) count->instructions[cpu] += (uint64_t)instructions;
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *block) {
  size_t n = qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, 0, (void *)n);
  for (size_t i = 0; i < n; i++) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
    uint64_t at = qemu_plugin_insn_vaddr(insn);
    if (at >> 63) qemu_plugin_register_vcpu_mem_cb(insn, on_write, 0, WRITES, (void *)at);
  }
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  int file = open(getenv("COUNT_FILE"), O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || ftruncate(file, sizeof *count)) return -1;
  count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (count == MAP_FAILED) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  return 0;
}
