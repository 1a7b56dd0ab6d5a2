//! The hardware and environment of a host: its processor, its GPU driver, and the container that a program runs
//! in.

use crate::fsio::read::{read_kernel, read_start, read_text};
use serde::{Deserialize, Serialize};
use std::env;
use std::path::Path;

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: Option<String>,
    /// The image, as it was named when the container was started.
    pub image: Option<String>,
    /// The id of the image.
    pub image_id: Option<String>,
}

/// Returns the model of the processor.
pub fn cpu() -> Option<String> {
    // The file is long on a large host; its beginning describes the first processor.
    let text = read_start(Path::new("/proc/cpuinfo"), 8 << 10).ok()?;
    let text = String::from_utf8_lossy(&text);
    // Other architectures have the model under another key, or not at all.
    let value = |key: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    value("model name").or_else(|| value("Model")).or_else(|| value("cpu"))
}

/// Returns the version of the driver of the GPUs, such as `nvidia 550.54.15`.
pub fn gpu_driver() -> Option<String> {
    ["nvidia", "amdgpu"].into_iter().find_map(|module| {
        let version = read_kernel(Path::new(&format!("/sys/module/{module}/version"))).ok()?;
        Some(format!("{module} {}", version.trim()))
    })
}

/// Returns the container that this process runs in, as far as visible from inside.
pub fn container() -> Option<Container> {
    let podman = read_text(Path::new("/run/.containerenv")).ok().map(|text| of_podman(&text));
    let apptainer = || {
        let image =
            ["APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"].into_iter().find_map(|name| env::var(name).ok());
        image.map(|image| Container { image: Some(image), ..Container::default() })
    };
    let docker = || {
        let id = container_id(&read_kernel(Path::new("/proc/self/mountinfo")).unwrap_or_default());
        (id.is_some() || Path::new("/.dockerenv").exists())
            .then_some(Container { id, ..Container::default() })
    };
    podman.filter(|container| *container != Container::default()).or_else(apptainer).or_else(docker)
}

/// Parses podman's file in its containers: lines such as `imageid="…"`.
fn of_podman(text: &str) -> Container {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned()).filter(|value| !value.is_empty())
    };
    Container { id: value("id"), image: value("image"), image_id: value("imageid") }
}

/// Finds the id of a container of Docker or containerd in its mounts: files such as `/etc/hostname` come from a
/// directory of this name.
fn container_id(mounts: &str) -> Option<String> {
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let of_host = |line: &&str| line.contains("/containers/") || line.contains("/sandboxes/");
    let mut parts = mounts.lines().filter(of_host).flat_map(|line| line.split(['/', ' ']));
    parts.find(is_id).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_knows_its_image_or_its_id() {
        let text =
            "engine=\"podman-4.3.1\"\nname=\"a\"\nid=\"12ab\"\nimage=\"docker.io/x:1\"\nimageid=\"34cd\"\n";
        let some = |text: &str| Some(text.to_owned());
        let expected = Container { id: some("12ab"), image: some("docker.io/x:1"), image_id: some("34cd") };
        assert_eq!(of_podman(text), expected);
        assert_eq!(of_podman(""), Container::default());
        let id = "0123456789abcdef".repeat(4);
        let mounts = format!(
            "713 711 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
        );
        assert_eq!(container_id(&mounts), Some(id.clone()));
        assert_eq!(container_id(&mounts.replace("containers", "volumes")), None);
    }

    #[test]
    fn a_host_has_a_processor() {
        assert!(cpu().is_none_or(|cpu| !cpu.is_empty() && !cpu.contains('\n')));
    }
}
