// A QEMU plugin that counts how often each block of the guest's code runs, in memory shared through the file named by COUNT_FILE.
// For one vCPU: the counts are not atomic. The file is an array of three 64-bit words for each block: its address, its
// instructions, how often it has run. Blocks that do not fit are not counted. Declares what it uses of QEMU's plugin interface
// (version 1), which no package carries.
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct qemu_plugin_tb;
typedef void (*translated)(uint64_t, struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, translated);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);

int qemu_plugin_version = 1;
// A power of two.
#define PLACES (1u << 18)
static struct block {
  uint64_t address, instructions, runs;
} *blocks;

static void on_translation(uint64_t id, struct qemu_plugin_tb *block) {
  uint64_t address = qemu_plugin_tb_vaddr(block), n = qemu_plugin_tb_n_insns(block);
  uint64_t hash = (address + (n << 56)) * 0x9e3779b97f4a7c15 >> 20;
  for (uint64_t i = 0; i < PLACES; i++) {
    struct block *place = &blocks[(hash + i) % PLACES];
    // QEMU translates a block again when it has dropped it.
    if (place->address && (place->address != address || place->instructions != n)) continue;
    place->address = address;
    place->instructions = n;
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &place->runs, 1);
    return;
  }
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  // Without what an earlier run has left there.
  int file = open(getenv("COUNT_FILE"), O_RDWR | O_CREAT | O_TRUNC, 0600);
  size_t size = PLACES * sizeof *blocks;
  if (file < 0 || ftruncate(file, size)) return 1;
  blocks = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (blocks == MAP_FAILED) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  return 0;
}
