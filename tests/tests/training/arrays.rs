//! Checkpoints that are arrays and tables of numbers: NumPy's, HDF5's and joblib's files, whole or cut.

use run_checkpoint::{Program, discover};
use run_common::rundir::layout::Layout;
use testkit::Lab;

/// Returns whether a file of this name and content is complete.
fn is_whole(lab: &Lab, name: &str, content: &[u8]) -> bool {
    lab.write(name, content);
    let all = discover(&Layout::new(lab.dir()), None, Program::Ended).unwrap();
    let found = all.iter().find(|one| one.path.to_str() == Some(name)).unwrap();
    found.is_complete()
}

/// Expects that a file is whole, and that no beginning of it is.
fn never_whole_when_cut(name: &str, whole: &[u8]) {
    let lab = Lab::new();
    assert!(is_whole(&lab, name, whole), "{name}");
    for length in 0..whole.len() {
        assert!(!is_whole(&lab, name, &whole[..length]), "{name} cut at {length} of {}", whole.len());
    }
}

/// Makes a file of NumPy: the magic word, the version, the length of the header, the header, the values.
fn npy(version: u8, header: &str, values: usize) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [&b"\x93NUMPY"[..], &[version, 0], length, header.as_bytes(), &vec![7; values]].concat()
}

#[test]
fn arrays_of_numbers_are_whole_until_they_are_cut() {
    for (version, descr, shape, bytes) in [
        (1, "<f4", "(50, 3)", 600),
        (2, "<i8", "(7,)", 56),
        (1, "<c16", "()", 16),
        (1, "|b1", "(3, 1, 2)", 6),
    ] {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        never_whole_when_cut("model_5.npy", &npy(version, &header, bytes));
    }
    // Of objects and records nothing tells how long they are.
    let lab = Lab::new();
    for descr in ["'|O'", "[('a', '<f4'), ('b', '<i8')]", "'<U3'"] {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (3,), }}\n");
        assert!(is_whole(&lab, "model_5.npy", &npy(1, &header, 1)), "{descr}");
    }
    for header in [
        "",
        "{'descr': '<f9999999999999999999', 'shape': (3,)}",
        "{'descr': '<f8', 'shape': (99999999999, 99999999999)}",
    ] {
        is_whole(&lab, "model_5.npy", &npy(1, header, 1));
    }
}

#[test]
fn a_table_of_hdf5_is_no_shorter_than_it_says() {
    let file = |version: u8| {
        let mut head = b"\x89HDF\r\n\x1a\n".to_vec();
        head.resize(300, 0);
        head[8] = version;
        let (sizes, end) = match version {
            0 => (13, 40),
            1 => (13, 44),
            _ => (9, 28),
        };
        head[sizes] = 8;
        head[end..end + 8].copy_from_slice(&300u64.to_le_bytes());
        head
    };
    for version in 0..=3 {
        never_whole_when_cut("model_5.h5", &file(version));
    }
    assert!(is_whole(&Lab::new(), "model_5.h5", &[&file(2)[..], b"more"].concat()));
}

#[test]
fn what_joblib_writes_is_no_pickle_that_was_cut() {
    let lab = Lab::new();
    // A class of joblib is made, and the bytes of an array follow, amid the opcodes.
    let joblib = b"\x80\x04\x95\x60\0\0\0\0\0\0\0}\x8c\x01w\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81\xff\xfe\x01\x02";
    assert!(is_whole(&lab, "model_5.pkl", joblib));
    assert!(is_whole(&lab, "model_6.joblib", joblib));
    assert!(!is_whole(&lab, "model_7.pkl", &joblib[..40]));
}
