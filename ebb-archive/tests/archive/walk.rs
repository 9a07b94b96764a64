//! A look at all that an accepted archive has, for the tests and for the fuzz target, which is a workspace of its own.

use ebb_archive::{Archive, PAGE};

/// Uses everything that an accepted archive has. Returns how many entries a walk finds.
pub fn walk(archive: &Archive<'_>) -> u32 {
    let mut seen = 0;
    let mut pending = vec![archive.root()];
    while let Some(node) = pending.pop() {
        seen += 1;
        assert!(seen <= archive.entries(), "the tree has a cycle");
        let _ = (
            node.data().len(),
            node.pages(),
            node.target(),
            node.metadata(),
            node.size(),
        );
        for child in node.children() {
            assert_eq!(child.parent().index(), node.index());
            assert_eq!(
                node.child(child.name()).map(|n| n.index()),
                Some(child.index())
            );
            pending.push(child);
        }
        if let Some(target) = node.target() {
            let _ = archive.resolve(target);
        }
        if let Some(pages) = node.pages() {
            assert!(pages.start % PAGE == 0 && pages.end <= archive.bytes().len() as u64);
        }
    }
    let _ = (
        archive.arguments().count(),
        archive.environment().count(),
        archive.directory(),
    );
    seen
}
