//! Which checkpoint is the latest, and files that were cut.

use run_checkpoint::{QUIET, latest, passed_over};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::time::{Duration, SystemTime};
use testkit::Lab;
use testkit::checkpoints::{
    find, find_live, hugging_face, is_whole, lines, never_whole_when_cut, safetensors, torch, torch_zip,
};

#[test]
fn the_latest_is_the_complete_one_with_the_greatest_step() {
    let lab = Lab::new();
    for step in [200, 40, 160, 80, 120] {
        hugging_face(&lab, step);
    }
    hugging_face(&lab, 240);
    fs::remove_file(lab.path("checkpoint-240/model.safetensors")).unwrap();
    hugging_face(&lab, 280);
    fs::rename(lab.path("checkpoint-280"), lab.path("checkpoint-280.tmp")).unwrap();
    fs::create_dir(lab.path("checkpoint-320")).unwrap();
    symlink("checkpoint-360", lab.path("step_latest")).unwrap();
    let touched = File::open(lab.path("checkpoint-40/model.safetensors")).unwrap();
    touched.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();

    for all in [find(&lab), find_live(&lab)] {
        assert_eq!(
            lines(&all),
            [
                "checkpoint-40 40",
                "checkpoint-80 80",
                "checkpoint-120 120",
                "checkpoint-160 160",
                "checkpoint-200 200",
                "checkpoint-240 240: holds no weights",
                "checkpoint-280.tmp 280: has a temporary name",
                "checkpoint-320 320: is empty",
                "step_latest -: is a link that leads nowhere",
            ]
        );
        assert_eq!(latest(&all).unwrap().step, Some(200));
        let passed: Vec<_> = passed_over(&all).map(|(one, _)| one.step).collect();
        assert_eq!(passed, [Some(240), Some(280), Some(320), None]);
        assert!(all[0].modified() > all[4].modified());
        assert!(all[0].size.bytes > 900 && all[0].size.files == 5, "{:?}", all[0].size);
    }
}

#[test]
fn steps_are_numbers() {
    let lab = Lab::new();
    for step in ["1000", "200", "0000300", "9"] {
        lab.write(&format!("checkpoints/model_{step}.pt"), torch());
    }
    let steps: Vec<_> = find(&lab).iter().map(|one| one.step.unwrap()).collect();
    assert_eq!(steps, [9, 200, 300, 1000]);
}

#[test]
fn a_zip_that_was_cut_is_never_complete() {
    never_whole_when_cut("model_5.pt", &torch(), &[]);
    let inner = torch();
    let large: Vec<u8> = (0..20_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let entries: [(&str, &[u8]); 3] =
        [("archive/data.pkl", b"\x80\x02}."), ("archive/data/0", &large), ("archive/data/1", &inner)];
    for is_zip64 in [false, true] {
        let whole = torch_zip(&entries, is_zip64, b"");
        let at = whole.windows(inner.len()).position(|part| part == inner).unwrap();
        never_whole_when_cut(
            "model_5.pth",
            &whole,
            &[at, at + inner.len() - 1, at + inner.len(), at + inner.len() + 1],
        );
    }
    // The end record of another archive in the comment, and one as the first thing in the file.
    let comment = &inner[inner.len() - 22..];
    never_whole_when_cut("last.ckpt", &torch_zip(&[("a", b"x"), ("b", &inner)], false, comment), &[]);
    never_whole_when_cut("rl_model_5_steps.zip", &torch_zip(&[("inner.zip", &inner)], true, b"SB3"), &[]);
}

#[test]
fn archives_of_other_writers_are_whole_until_they_are_cut() {
    let lab = Lab::new();
    let script = r#"
import io, os, zipfile
inner = io.BytesIO()
with zipfile.ZipFile(inner, "w") as z: z.writestr("data", b"inner" * 10)
for name, method in ("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(name, "w", method) as z:
        z.writestr("data.pkl", b"x" * 50)
        with z.open("data/0", "w", force_zip64=True) as f: f.write(os.urandom(3000))
        z.writestr("nested", inner.getvalue())
with zipfile.ZipFile("streamed.tmp", "w") as z: pass
class Pipe(io.RawIOBase):
    def __init__(self): self.all = b""
    def writable(self): return True
    def write(self, b): self.all += bytes(b); return len(b)
pipe = Pipe()
with zipfile.ZipFile(pipe, "w") as z:
    z.writestr("a", inner.getvalue()); z.writestr("b", b"2" * 99); z.comment = b"said"
open("streamed", "wb").write(pipe.all)
"#;
    lab.cmd("python3").args(["-c", script]).run().code(0);
    for name in ["stored", "deflated", "streamed"] {
        never_whole_when_cut("model_9.pt", &lab.bytes(name), &[]);
    }
}

#[test]
fn an_archive_beyond_four_gigabytes_is_whole_until_it_is_cut() {
    const HOLE: u64 = 5 << 30; // the file is sparse
    let lab = Lab::new();
    let local = |size: u32| {
        [b"PK\x03\x04", &[0; 14][..], &size.to_le_bytes(), &size.to_le_bytes(), b"\x01\0\0\0a"].concat()
    };
    let entry = |size: u32, offset: u32, extra: &[u64]| {
        let length = if extra.is_empty() { 0 } else { u8::try_from(4 + 8 * extra.len()).unwrap() };
        let mut entry =
            [b"PK\x01\x02", &[0; 16][..], &size.to_le_bytes(), &size.to_le_bytes(), b"\x01\0", &[length, 0]]
                .concat();
        entry.extend([0; 10]);
        entry.extend(offset.to_le_bytes());
        entry.push(b'a');
        if !extra.is_empty() {
            entry.extend([1, 0, length - 4, 0]);
            entry.extend(extra.iter().flat_map(|number| number.to_le_bytes()));
        }
        entry
    };
    let second = 31 + HOLE;
    let central = [entry(u32::MAX, 0, &[HOLE, HOLE]), entry(2, u32::MAX, &[second])].concat();
    let offset = second + 31 + 2;
    let mut end = [local(2), b"zz".to_vec(), central.clone(), b"PK\x06\x06".to_vec()].concat();
    end.extend(44u64.to_le_bytes());
    end.extend([0; 12]);
    end.extend([2, 2, central.len() as u64, offset].iter().flat_map(|number| number.to_le_bytes()));
    end.extend(b"PK\x06\x07\0\0\0\0");
    end.extend((offset + central.len() as u64).to_le_bytes());
    end.extend([1, 0, 0, 0]);
    end.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    let path = lab.write("model_5.pt", local(u32::MAX));
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&end, second).unwrap();
    assert_eq!(lines(&find(&lab)), ["model_5.pt 5"]);
    for length in [second + end.len() as u64 - 1, offset, second, 4 << 30, 31] {
        file.set_len(length).unwrap();
        assert!(!find(&lab)[0].is_complete(), "{length}");
    }
}

#[test]
fn safetensors_that_were_cut_are_never_complete() {
    never_whole_when_cut("model_5.safetensors", &safetensors(100), &[]);
    never_whole_when_cut("model_5.safetensors", &safetensors(50_000), &[]);
    let lab = Lab::new();
    let mut longer = safetensors(10);
    longer.push(0);
    assert!(!is_whole(&lab, "model_5.safetensors", &longer));
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend(b"{}");
    assert!(!is_whole(&lab, "model_5.safetensors", &huge));
}

#[test]
fn pickles_that_were_cut_are_never_complete_and_files_of_old_torch_prove_nothing() {
    let lab = Lab::new();
    // What torch wrote before 1.6: five pickles, then each storage with its number of elements.
    let script = r#"
import pickle, struct, sys, tarfile, types, io, collections
torch = types.ModuleType("torch"); sys.modules["torch"] = torch
for name in "FloatStorage", "LongStorage":
    setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
class Storage:
    def __init__(self, kind, key, count, size): self.kind, self.key, self.count, self.size = kind, key, count, size
stores = [Storage(torch.FloatStorage, "94120", 70, 4), Storage(torch.LongStorage, "94121", 3, 8),
          Storage(torch.FloatStorage, "94122", 300, 4)]
for protocol in 2, 4:
    with open(f"legacy{protocol}", "wb") as f:
        for value in 0x1950a86a20f9469cfc6c, 1001, dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2)):
            pickle.dump(value, f, protocol=protocol)
        class Pickler(pickle.Pickler):
            def persistent_id(self, obj):
                if isinstance(obj, Storage): return ("storage", obj.kind, obj.key, "cpu", obj.count, None)
        state = collections.OrderedDict((f"layer{i}.weight", [s, (2, 3), 0.5, s]) for i, s in enumerate(stores))
        Pickler(f, protocol=protocol).dump({"model": state, "step": 5, "names": ["x"] * 100, "big": 1 << 80})
        pickle.dump([s.key for s in stores], f, protocol=protocol)
        for s in stores: f.write(struct.pack("<q", s.count) + b"." * (s.count * s.size))
    with open(f"plain{protocol}", "wb") as f:
        pickle.dump({"weights": [0.5, 1.5, -2] * 40, "text": "a.b." * 90, "blob": b"." * 400, "none": None,
                     "set": {1, 2}, "tuple": (1, 2, 3, 4), "od": collections.OrderedDict(a=1)}, f, protocol=protocol)
with tarfile.open("tar", "w") as t:
    for name, body in ("pickle", b"1" * 700), ("storages", bytes(5000)):
        info = tarfile.TarInfo(name); info.size = len(body); t.addfile(info, io.BytesIO(body))
"#;
    lab.cmd("python3").args(["-c", script]).run().code(0);
    for name in ["plain2", "plain4"] {
        never_whole_when_cut("model_9.pt", &lab.bytes(name), &[]);
    }
    // Nothing tells whether they are whole, so they have to be left alone while the program lives.
    let work = Lab::new();
    for name in ["legacy2", "legacy4", "tar"] {
        let whole = lab.bytes(name);
        for content in [&whole[..], &whole[..whole.len() - 1], &whole[..600]] {
            assert!(is_whole(&work, "model_9.pth", content), "{name}");
            assert_eq!(
                lines(&find_live(&work)),
                ["model_9.pth 9: may still be written: it was changed within 10 seconds"]
            );
            let file = File::options().write(true).open(work.path("model_9.pth")).unwrap();
            file.set_modified(SystemTime::now() - QUIET).unwrap();
            assert_eq!(lines(&find_live(&work)), ["model_9.pth 9"], "{name}");
        }
        assert!(!is_whole(&work, "model_9.pth", &whole[..12]), "{name}"); // too short to be known
    }
}
