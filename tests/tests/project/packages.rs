//! What `make install`, `make wheel` and `make deb` make of built tools, in clean environments.

use std::path::Path;
use testkit::{Lab, bin, checkout};

const TOOLS: [&str; 8] = [
    "run-new",
    "run-exec",
    "run-status",
    "run-stop",
    "run-eval",
    "run-report",
    "run-sync",
    "run-launch-slurm",
];

/// Makes a package of the built tools, and returns its path.
fn package(lab: &Lab, script: &str) -> String {
    let done =
        lab.cmd(checkout().join("packaging").join(script)).arg(bin()).arg(lab.path("dist")).run().code(0);
    done.out().trim_end().to_owned()
}

/// Expects the manuals and completions below a directory.
fn has_texts(at: &Path, end: &str) {
    for page in ["man1/run-new.1", "man5/run-dir.5", "man7/run-tools.7"] {
        assert!(at.join(format!("share/man/{page}{end}")).is_file(), "{page}");
    }
    assert!(at.join("share/bash-completion/completions/run-new").is_file());
    assert!(at.join("share/fish/vendor_completions.d/run-new.fish").is_file());
}

#[test]
fn make_install_installs_what_is_built_and_needs_no_cargo() {
    let lab = Lab::new();
    let make = || lab.cmd("make").cwd(checkout()).env("PATH", "/usr/bin:/bin").args(["-s", "install"]);
    let prefix = format!("PREFIX={}", lab.path("there").display());
    let binaries = format!("BIN={}", bin().display());
    make().args([prefix.as_str(), &binaries]).run().code(0).stdout("").stderr("");
    has_texts(&lab.path("there"), "");
    assert!(lab.path("there/share/zsh/site-functions/_run-new").is_file());
    for tool in TOOLS {
        assert!(lab.path("there/bin").join(tool).is_file(), "{tool}");
    }
    let done = make().args(["PREFIX=/nowhere", "BIN=/none"]).run().code(2);
    let said = "packaging: run-new is not built: run 'make' first, as the user who has Rust\n";
    assert!(done.err().starts_with(said), "{}", done.err());
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn a_wheel_installs_into_a_fresh_environment() {
    let lab = Lab::new();
    let wheel = package(&lab, "wheel");
    lab.cmd("python3").args(["-m", "venv", "venv"]).run().code(0);
    let pip = ["-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", &wheel];
    lab.cmd(lab.path("venv/bin/python3")).args(pip).run().code(0);
    for tool in &TOOLS[..7] {
        let version = lab.cmd(lab.path("venv/bin").join(tool)).arg("--version").run().code(0);
        version.stdout(format!("{tool} {}\n", env!("CARGO_PKG_VERSION")));
    }
    has_texts(&lab.path("venv"), "");
    // The same files make the same wheel.
    let before = lab.bytes(&wheel);
    assert!(package(&lab, "wheel") == wheel && lab.bytes(&wheel) == before);
    let pip = ["-m", "pip", "uninstall", "--quiet", "--yes", "run-tools"];
    lab.cmd(lab.path("venv/bin/python3")).args(pip).run().code(0);
    assert!(!lab.path("venv/bin/run-new").exists());
}

#[test]
fn a_debian_package_is_accepted_by_lintian() {
    let lab = Lab::new();
    let package = package(&lab, "deb");
    let lintian = ["--fail-on", "error,warning", "--tag-display-limit", "0", &package];
    lab.cmd("lintian").args(lintian).run().code(0).stdout("");
    lab.cmd("dpkg-deb").args(["--extract", &package, "root"]).run().code(0);
    has_texts(&lab.path("root/usr"), ".gz");
    for tool in &TOOLS[..7] {
        lab.cmd(lab.path("root/usr/bin").join(tool)).arg("--version").run().code(0);
    }
}
