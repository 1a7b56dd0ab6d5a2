//! The resources that a run used, as curves over time.

use crate::curve::{Beside, Curve};
use run_common::rundir::layout::Layout;
use run_common::rundir::sample::Sample;

/// Maximum number of buckets of a curve.
const BUCKETS: usize = 240;

/// Names and units.
pub(super) const RESOURCES: [(&str, &str); 6] = [
    ("CPU", "cores"),
    ("memory", "bytes"),
    ("GPU utilization", "%"),
    ("GPU memory", "bytes"),
    ("GPU power", "W"),
    ("GPU temperature", "°C"),
];

/// Reads the curves of a run, over seconds since 1970, in the order of [`RESOURCES`]; none of what is not known.
#[expect(clippy::cast_precision_loss, reason = "what is drawn needs fewer digits")]
pub(crate) fn curves(layout: &Layout) -> Vec<Curve> {
    let mut curves = RESOURCES.map(|(name, _)| Curve::new(name, BUCKETS, None));
    let mut before: Option<(f64, f64)> = None;
    let read = Sample::each(layout, |sample| {
        let time = sample.time.millis() as f64 / 1000.0;
        // The CPU time of an attempt begins at zero.
        let cpu = before
            .map(|(then, used)| (time - then, sample.cpu_seconds - used))
            .filter(|(span, used)| *span > 0.0 && *used >= 0.0)
            .map(|(span, used)| used / span);
        before = Some((time, sample.cpu_seconds));
        let devices = sample.devices.as_deref().unwrap_or_default();
        let of = |part: fn(&_) -> Option<f64>| devices.iter().filter_map(part);
        let (used, count) =
            of(|device| device.utilization).fold((0.0, 0.0), |(sum, count), part| (sum + part, count + 1.0));
        let values = [
            cpu,
            Some(sample.rss_bytes as f64),
            (count > 0.0).then_some(used / count),
            sample.gpu_mem_bytes.map(|bytes| bytes as f64),
            of(|device| device.power_w).reduce(|sum, part| sum + part),
            of(|device| device.temperature_c).reduce(f64::max),
        ];
        for (curve, value) in curves.iter_mut().zip(values) {
            if let Some(value) = value {
                curve.add_row(time, value, Beside { time, ..Beside::NOTHING });
            }
        }
    });
    if read.is_err() {
        return Vec::new(); // resources explain a run, and are no part of its results
    }
    curves.into_iter().filter(|curve| curve.rows > 0).collect()
}
