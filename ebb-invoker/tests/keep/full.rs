//! A disk that is full, and what comes back of namespaces.

use ebb_block::sim::SimDisk;
use ebb_openwhisk::runtimes::Runtimes;

use crate::{Held, Opens, ask, on};

#[test]
fn a_full_disk_refuses_changes_and_takes_deletes() {
    let disk = SimDisk::new(2 << 20, 1);
    let mut world = on(&disk);
    let (keeper, Held(controller), _) = world.open_whole();
    let mut put = |name: String, method: &'static str| {
        let (keeper, controller) = (keeper.clone(), controller.clone());
        world.result(async move {
            // Code that compresses to nothing would be equal, and kept once.
            let code = format!("{name} {}", "x".repeat(30_000));
            let body = format!(r#"{{"exec":{{"kind":"nodejs:default","code":"{code}"}}}}"#);
            ask(
                &mut controller.borrow_mut(),
                method,
                &format!("/actions/{name}"),
                &body,
                1,
            );
            let changed = keeper.changed(&mut controller.borrow_mut())?;
            Some(keeper.commit(changed).await)
        })
    };
    let mut names = Vec::new();
    let full = (0..100).find_map(|n| match put(format!("a{n}"), "PUT") {
        Some(Ok(())) => {
            names.push(format!("a{n}"));
            None
        }
        Some(Err((changed, error))) => Some((changed, error)),
        None => panic!("something changed"),
    });
    let (changed, error) = full.expect("2 MiB are full by then");
    assert_eq!(error, ebb_store::Error::Full);
    assert!(names.len() > 10);
    let asked = keeper.clone();
    let name = changed.entities[0].0.clone();
    let kept = world.result(async move { asked.kept(&name, &Runtimes::default()).await });
    assert!(kept.is_none(), "it was never kept");
    let mut put = |name: &str, method: &'static str| {
        let (keeper, controller) = (keeper.clone(), controller.clone());
        let name = name.to_owned();
        world.result(async move {
            let body = r#"{"exec":{"kind":"nodejs:default","code":"x"}}"#;
            ask(
                &mut controller.borrow_mut(),
                method,
                &format!("/actions/{name}"),
                body,
                1,
            );
            let changed = keeper.changed(&mut controller.borrow_mut());
            keeper
                .commit(changed.expect("a change"))
                .await
                .map_err(|(_, error)| error)
        })
    };
    for name in &names[..5] {
        assert_eq!(put(name, "DELETE"), Ok(()));
    }
    assert_eq!(put("again", "PUT"), Ok(()));
}

#[test]
fn a_namespace_comes_back_with_its_key_and_its_limits() {
    let disk = SimDisk::new(2 << 20, 1);
    let mut world = on(&disk);
    let (keeper, Held(controller), _) = world.open_whole();
    let body = r#"{"key":"u:secret","limits":{"weight":7}}"#;
    assert_eq!(
        ask(
            &mut controller.borrow_mut(),
            "PUT",
            "/admin/namespaces/n",
            body,
            1
        ),
        200
    );
    let asked = keeper.clone();
    let changed = keeper
        .changed(&mut controller.borrow_mut())
        .expect("a change");
    assert!(world.result(async move { asked.commit(changed).await.is_ok() }));
    let mut world = on(&disk.power_cut(1));
    let (keeper, Held(controller), _) = world.open_whole();
    let mut controller = controller.borrow_mut();
    assert!(controller.namespaces_mut().opens("n", "u:secret"));
    assert!(!controller.namespaces_mut().opens("n", "u:secreu"));
    assert_eq!(controller.namespaces().limits("n").weight, 7);
    assert!(
        keeper.changed(&mut controller).is_none(),
        "nothing is kept anew"
    );
}
