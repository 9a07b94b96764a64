//! A container image: a folder in the OCI's image layout (image-spec 1.1), with the image and its archive in one layer, and what
//! urunc reads: annotations by its names, and the same in `/urunc.json` of the layer, where values are in base64.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{content::Content, disk::time};
use crate::failure::{Result, at};

/// Writes the folder, in place of one that was there.
pub fn write(content: &Content, folder: &Path, name: &str) -> Result<()> {
    let _ = fs::remove_dir_all(folder);
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(at(blobs.display()))?;
    let labels = labels(content);
    let layer = layer(content, &labels).map_err(at("the layer"))?;
    let blob = |kind: &str, bytes: &[u8]| -> Result<Value> {
        let digest = digest(bytes);
        let path = blobs.join(&digest);
        fs::write(&path, bytes).map_err(at(path.display()))?;
        Ok(json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        }))
    };
    let layer = blob("layer.v1.tar", &layer)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Labels": labels },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob("config.v1+json", config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
        "annotations": labels,
    });
    let mut manifest = blob("manifest.v1+json", manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    for (file, value) in [
        ("index.json", index),
        ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })),
    ] {
        let path = folder.join(file);
        fs::write(&path, value.to_string()).map_err(at(path.display()))?;
    }
    Ok(())
}

/// What urunc asks about an image.
fn labels(content: &Content) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut label = |name: &str, value: &str| {
        labels.insert(format!("com.urunc.unikernel.{name}"), value.to_owned())
    };
    label("unikernelType", "ebb");
    label("hypervisor", "qemu");
    label("binary", "/unikernel/image");
    label("cmdline", &content.command_line);
    if content.archive.is_some() {
        label("initrd", "/unikernel/archive");
    }
    labels
}

fn layer(content: &Content, labels: &BTreeMap<String, String>) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let encoded: BTreeMap<&String, String> = labels
        .iter()
        .map(|(name, value)| (name, STANDARD.encode(value)))
        .collect();
    let described = serde_json::to_vec(&encoded)?;
    let archive = content.archive.as_deref();
    let files = [
        ("unikernel/image", Some(&content.image[..])),
        ("unikernel/archive", archive),
        ("urunc.json", Some(&described)),
    ];
    for (path, bytes) in files {
        let Some(bytes) = bytes else {
            continue;
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(time());
        tar.append_data(&mut header, path, bytes)?;
    }
    tar.into_inner()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
