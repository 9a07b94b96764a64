//! The bus, physical addresses, vectors.

use alloc::boxed::Box;

use ebb::{
    EbbRef, cores,
    platform::{Environment, Hardware},
};

#[ebb::test]
fn the_bus_has_a_host_bridge_and_every_function_answers() {
    let hardware = EbbRef::<dyn Hardware>::get();
    let functions = hardware.pci_functions();
    assert!(
        functions.iter().any(|f| f.class >> 16 == 0x0600),
        "{functions:?}"
    );
    for f in functions {
        let id = hardware.pci_read(f.address, 0);
        assert_eq!((id as u16, (id >> 16) as u16), (f.vendor, f.device));
    }
}

#[ebb::test]
fn every_memory_bar_of_a_network_card_has_an_address() {
    let hardware = EbbRef::<dyn Hardware>::get();
    for f in hardware
        .pci_functions()
        .iter()
        .filter(|f| f.vendor == 0x1af4)
    {
        let mut register = 0x10;
        while register < 0x28 {
            let bar = hardware.pci_read(f.address, register);
            let wide = bar & 7 == 4;
            if wide {
                let high = hardware.pci_read(f.address, register + 4);
                let base = u64::from(bar & !15) | u64::from(high) << 32;
                assert_ne!(base, 0, "{f:?}, register {register:#x}");
                assert!(hardware.map_device(base, 4096).is_some());
            }
            register += if wide { 8 } else { 4 };
        }
    }
}

#[ebb::test]
fn memory_is_not_mapped_as_a_device() {
    let hardware = EbbRef::<dyn Hardware>::get();
    let heap = Box::new(5u64);
    let physical = hardware.physical_address((&raw const *heap).cast());
    assert!(hardware.map_device(physical & !4095, 4096).is_none());
}

#[ebb::test]
fn physical_addresses_lead_back() {
    static WORD: u64 = 0xdeed;
    let hardware = EbbRef::<dyn Hardware>::get();
    let heap = Box::new(0x5eed_u64);
    for word in [&raw const *heap, &raw const WORD] {
        let physical = hardware.physical_address(word.cast());
        let linear = hardware.virtual_address(physical).cast::<u64>();
        // SAFETY: both are addresses of a word that lives.
        let (there, here) = unsafe { (linear.read(), word.read()) };
        assert_eq!(there, here);
    }
}

#[ebb::test]
fn a_core_gives_each_interrupt_its_own_vector_and_says_when_there_are_no_more() {
    let hardware = EbbRef::<dyn Hardware>::get();
    let core = cores().last().unwrap();
    let mut seen = alloc::vec::Vec::new();
    while let Some(message) = hardware.bind_interrupt(core, |_| (), 0) {
        assert_eq!(message.address >> 20, 0xfee);
        assert!(!seen.contains(&message.data), "{message:?} twice");
        seen.push(message.data);
        assert!(seen.len() <= 256);
    }
    assert!(seen.len() > 100, "only {} vectors", seen.len());
}

#[ebb::test]
fn an_option_on_the_command_line_is_seen() {
    let environment = EbbRef::<dyn Environment>::get();
    assert_eq!(environment.option("test.colour"), Some("blue"));
    assert_eq!(environment.option("test.shape"), None);
}
