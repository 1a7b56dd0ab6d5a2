//! Lines of Lightning: the complete bar of an epoch, as tqdm draws it, and the messages about saved
//! checkpoints.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// Reads a line of any of the forms.
pub(super) fn row(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    scan.tag("Epoch ")?;
    let epoch = scan.whole()?;
    let mut numbers = Numbers::default();
    numbers.add("epoch", epoch);
    if scan.tag(", global step ").is_some() {
        saved(&mut scan, &mut numbers)?;
    } else {
        bar(&mut scan, &mut numbers)?;
    }
    numbers.row()
}

/// `Epoch 4, global step 320: 'val_loss' reached 0.27113 (best 0.27113), saving model to '…' as top 1`.
fn saved(scan: &mut Scan, numbers: &mut Numbers) -> Option<()> {
    numbers.add("global_step", scan.whole()?);
    scan.tag(": '")?;
    let name = scan.some(|byte| byte != b'\'')?;
    scan.tag("' reached ")?;
    numbers.add(name, scan.number()?);
    scan.tag(" (best ")
}

/// `Epoch 3: 100%|████| 10/10 [00:01<00:00,  7.20it/s, v_num=0, train_loss=1.200]`.
fn bar(scan: &mut Scan, numbers: &mut Numbers) -> Option<()> {
    scan.tag(": 100%|")?;
    let (_, rest) = scan.0.split_once("| ")?;
    let (done, rest) = rest.split_once(" [")?;
    let (done, of) = done.split_once('/')?;
    let mut fields = rest.strip_suffix(']')?.split(", ");
    let (time, rate) = (fields.next()?, fields.next()?.trim());
    let bare = rate.strip_suffix("it/s").or_else(|| rate.strip_suffix("s/it"))?;
    let has_two_places = bare.split_once('.').is_some_and(|(_, places)| places.len() == 2);
    if done != of || !time.contains('<') || !has_two_places {
        return None;
    }
    for field in fields {
        let (name, value) = field.split_once('=')?;
        if let Some(value) = number(value)
            && name != "v_num"
        {
            numbers.add(name, value);
        }
    }
    Some(())
}
