//! A clock that is wrong: what was kept by one that was ahead stays, and goes on, when the next start has the right time.

use ebb_block::sim::SimDisk;

use crate::{Held, Opens, asked, on, record, state};

/// The times of the lives of a platform, in milliseconds: each has its clock set back.
const LIVES_MS: [u64; 4] = [4_000_000_000_000, 1_700_000_000_000, 1_000, 0];

#[test]
fn when_the_clock_is_set_back_nothing_that_was_kept_is_lost_and_no_number_is_given_twice() {
    let mut disk = SimDisk::new(16 << 20, 1);
    let mut expected = None;
    let (mut ids, mut last_revision) = (Vec::<String>::new(), 0);
    for (life, now_ms) in LIVES_MS.into_iter().enumerate() {
        let (_, Held(whole), _) = on(&disk.copy(0)).open_whole();
        let mut world = on(&disk);
        let (keeper, held, loaded) = world.open_whole();
        assert_eq!(loaded.lost, [""; 0], "life {life}");
        let found = state(&held.0.borrow());
        assert!(
            expected.as_ref().is_none_or(|all| *all == found),
            "life {life}"
        );
        for id in &ids {
            let records = held.0.borrow();
            assert!(
                records.activations().get("guest", id).is_ok(),
                "life {life}: {id}"
            );
        }
        let next = held.0.borrow_mut().store_mut().next_revision();
        assert!(
            next > last_revision,
            "life {life}: {next} after {last_revision}"
        );
        last_revision = next;

        let (keeper, changing) = (keeper.clone(), held.clone());
        let id = world.result(async move {
            let exec = r#"{"exec":{"kind":"nodejs:default","code":"exports.main = () => ({})"}}"#;
            for path in ["/actions/same".to_owned(), format!("/actions/of{life}")] {
                let change = ("PUT", &*path, exec);
                assert_eq!(asked(&keeper, &changing, &whole, change, now_ms).await, 200);
                let changed = keeper.changed(&mut changing.0.borrow_mut());
                assert!(keeper.commit(changed.expect("a change")).await.is_ok());
            }
            changing.0.borrow_mut().keep(record(now_ms));
            let changes = changing.0.borrow_mut().activations_mut().take_changes();
            keeper
                .keep_records(changes)
                .await
                .expect("the disk has room");
            format!("{now_ms:032x}")
        });
        ids.push(id);
        expected = Some(state(&held.0.borrow()));
        disk = disk.power_cut(life as u64);
    }
    let all = expected.expect("there was a life");
    let same = all.iter().find(|(name, _)| name.ends_with("/same"));
    let (document, _) = &same.expect("it was put in each life").1;
    assert!(document.contains(r#""0.0.4""#), "{document}");
    assert_eq!(
        all.keys().filter(|name| name.contains("/of")).count(),
        LIVES_MS.len()
    );
}
