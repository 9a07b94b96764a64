//! What /proc/cpuinfo says of the processor: what CPUID does, in Linux' words (`arch/x86/include/asm/cpufeatures.h`).

use crate::object::env::CpuModel;
use alloc::{string::String, vec::Vec};
use core::arch::x86_64::{__cpuid, __cpuid_count};
use ebb_guest::xsave;

/// Where a word of features comes from: leaf, sub-leaf and register (EAX to EDX), and the names of its bits from the lowest.
/// `-` is a bit without a name, or of what a program cannot use here.
type Word = (u32, u32, usize, &'static str);

#[rustfmt::skip]
const WORDS: [Word; 8] = [
    (1, 0, 3, "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"),
    (0x8000_0001, 0, 3, "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"),
    (1, 0, 2, "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor"),
    (0x8000_0001, 0, 2, "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -"),
    (7, 0, 1, "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"),
    (0xd, 1, 0, "xsaveopt xsavec xgetbv1 xsaves"),
    (7, 0, 2, "- avx512vbmi - - - waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - - - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b"),
    (7, 0, 3, "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities"),
];

/// State components of AVX-512: masks, upper halves of ZMM0-15, and ZMM16-31.
const AVX512: u64 = 0xe0;

fn registers(leaf: u32, sub: u32) -> [u32; 4] {
    // A leaf beyond the highest would be answered with another's.
    if __cpuid(leaf & 0x8000_0000).eax < leaf {
        return [0; 4];
    }
    let found = __cpuid_count(leaf, sub);
    [found.eax, found.ebx, found.ecx, found.edx]
}

/// Whether the registers that a feature needs are switched on.
fn is_usable(name: &str, components: u64) -> bool {
    let needs_avx = ["avx", "fma", "vaes", "vpclmul", "f16c", "xop"];
    if name.starts_with("avx512") {
        return components & AVX512 == AVX512;
    }
    if name.starts_with("amx") {
        return false;
    }
    components & xsave::AVX != 0 || !needs_avx.iter().any(|n| name.starts_with(n))
}

fn flags() -> Vec<u8> {
    let components = xsave::components();
    let mut all = String::new();
    for (leaf, sub, register, names) in WORDS {
        let word = registers(leaf, sub)[register];
        for (bit, name) in names.split(' ').enumerate() {
            if word >> bit & 1 != 0 && name != "-" && is_usable(name, components) {
                all.push_str(if all.is_empty() { "" } else { " " });
                all.push_str(name);
            }
        }
    }
    all.into_bytes()
}

/// Family, model and stepping, with the extensions that make larger numbers of them.
fn signature(eax: u32) -> (u32, u32, u32) {
    let (family, model) = (eax >> 8 & 0xf, eax >> 4 & 0xf);
    let whole = match family {
        0xf => family + (eax >> 20 & 0xff),
        _ => family,
    };
    let model = match family {
        6 | 0xf => model | (eax >> 16 & 0xf) << 4,
        _ => model,
    };
    (whole, model, eax & 0xf)
}

/// The processor that runs this, whose time-stamp counter makes so many million steps a second.
pub fn model(mhz: u32) -> CpuModel {
    let bytes = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let [level, b, c, d] = registers(0, 0);
    let sizes = registers(0x8000_0008, 0)[0];
    let mut name = Vec::new();
    for leaf in 0x8000_0002..=0x8000_0004 {
        name.extend(bytes(&registers(leaf, 0)));
    }
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    CpuModel {
        vendor: bytes(&[b, d, c]),
        name: name[..end].trim_ascii().to_vec(),
        signature: signature(registers(1, 0)[0]),
        level,
        // Of the second level, which every CPU of today tells in this leaf.
        cache_kib: registers(0x8000_0006, 0)[2] >> 16,
        address_bits: match (sizes & 0xff, sizes >> 8 & 0xff) {
            (0, _) => (36, 48),
            bits => bits,
        },
        mhz,
        flags: flags(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_its_extensions() {
        // A Skylake server, a Zen 2, an 80486.
        assert_eq!(signature(0x0005_0654), (6, 0x55, 4));
        assert_eq!(signature(0x0083_0f10), (0x17, 0x31, 0));
        assert_eq!(signature(0x0000_0480), (4, 8, 0));
    }

    #[test]
    fn names_are_those_that_linux_gives_the_same_bits() {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("flags"));
        let Some(known) = line.and_then(|l| l.split_once(": ")) else {
            return;
        };
        let known: Vec<&str> = known.1.split(' ').collect();
        let own = String::from_utf8(flags()).unwrap();
        // Some that Linux does not use are left out there.
        let more = own.split(' ').filter(|f| !known.contains(f)).count();
        assert!(own.split(' ').count() > 20 && more <= 6, "{own}\n{known:?}");
    }

    #[test]
    fn each_word_has_at_most_32_names() {
        for (.., names) in WORDS {
            assert!(names.split(' ').count() <= 32, "{names}");
        }
    }
}
