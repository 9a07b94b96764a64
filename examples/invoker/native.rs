//! Instances in the image. The loader is ready for it (`--fd 3`, frames as in `ebb_openwhisk::instance`); what a UC cannot
//! be given yet is a socket to its host, so every start says that.

use alloc::{boxed::Box, string::String, vec::Vec};
use ebb_openwhisk::instance::{Boxed, Deploy, Instance, Wanted};
use ebb_runtime::provides;

struct Image;

#[provides(Deploy, instance = &Image)]
impl Deploy for Image {
    fn start(&self, _wanted: Wanted) -> Boxed<'static, Result<Box<dyn Instance>, String>> {
        Box::pin(async {
            Err(String::from(
                "This image cannot run actions yet; `cargo hosted invoker` runs them as Linux processes.",
            ))
        })
    }

    fn description(&self) -> String {
        String::from("none: this image cannot run actions yet")
    }

    fn actions(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        Err(alloc::format!(
            "{folder}: the boot archive carries no actions yet; deploy them with a client"
        ))
    }
}
