//! What the time and the money of a run went to: sums of its spans, whose parts add up exactly.

use super::timeline::{Kind, Millis, Span};

/// Millionths of a dollar.
pub(crate) type Micros = i128;

/// Time and money by kind, in the order of [`Kind::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Milliseconds of each kind.
    pub(super) millis: [Millis; Kind::ALL.len()],
    /// Money of each kind; none if no attempt has a price.
    pub(super) micros: Option<[Micros; Kind::ALL.len()]>,
}

impl Receipt {
    /// Adds up the spans, given the price of each attempt, if known, in millionths of a dollar.
    pub(super) fn of(spans: &[Span], prices: &[Option<Micros>]) -> Self {
        let mut receipt = Self::default();
        for (attempt, price) in prices.iter().enumerate() {
            let millis = sums(spans.iter().filter(|span| span.attempt == Some(attempt)));
            if let Some(price) = price {
                let micros = receipt.micros.get_or_insert_default();
                for (sum, share) in micros.iter_mut().zip(shares(*price, &millis)) {
                    *sum += share;
                }
            }
        }
        receipt.millis = sums(spans.iter());
        receipt
    }

    /// Adds another receipt.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, millis) in self.millis.iter_mut().zip(other.millis) {
            *sum += millis;
        }
        if let Some(micros) = other.micros {
            for (sum, micros) in self.micros.get_or_insert_default().iter_mut().zip(micros) {
                *sum += micros;
            }
        }
    }

    /// Returns the time from the beginning to the end.
    pub(crate) fn wall(&self) -> Millis {
        self.millis.iter().sum()
    }

    /// Returns the time of the attempts.
    pub(crate) fn spent(&self) -> Millis {
        self.wall() - self.time_of(Kind::Queued) - self.time_of(Kind::Idle)
    }

    /// Returns the money of all parts.
    pub(crate) fn money(&self) -> Option<Micros> {
        self.micros.map(|micros| micros.iter().sum())
    }

    pub(crate) fn time_of(&self, kind: Kind) -> Millis {
        self.millis[kind as usize]
    }

    pub(crate) fn money_of(&self, kind: Kind) -> Option<Micros> {
        self.micros.map(|micros| micros[kind as usize])
    }

    /// Returns how much of the money trained, else of the time of the attempts, in percent.
    pub(crate) fn trained(&self) -> Option<f64> {
        let (part, whole) = match (self.money_of(Kind::Training), self.money()) {
            (Some(part), Some(whole)) if whole > 0 => (part, whole),
            _ => (self.time_of(Kind::Training).into(), self.spent().into()),
        };
        #[expect(clippy::cast_precision_loss, reason = "a percentage needs no more")]
        (whole > 0).then(|| part as f64 / whole as f64 * 100.0)
    }
}

fn sums<'a>(spans: impl Iterator<Item = &'a Span>) -> [Millis; Kind::ALL.len()] {
    let mut millis = [0; Kind::ALL.len()];
    for span in spans {
        millis[span.kind as usize] += span.time.end - span.time.start;
    }
    millis
}

/// Divides a sum in proportion to the times, so that the parts add up to the sum. Without any time, all of it is of
/// the start.
fn shares(sum: Micros, millis: &[Millis; Kind::ALL.len()]) -> [Micros; Kind::ALL.len()] {
    let mut shares = [0; Kind::ALL.len()];
    let whole: Millis = millis.iter().sum();
    if whole == 0 {
        shares[Kind::Starting as usize] = sum;
        return shares;
    }
    let (mut time, mut divided) = (0, 0);
    for (share, part) in shares.iter_mut().zip(millis) {
        time += Micros::from(*part);
        let until = sum * time / Micros::from(whole);
        *share = until - divided;
        divided = until;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_are_counted_in_their_order() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[test]
    fn waiting_costs_nothing() {
        let span = |time, kind, attempt| Span { time, kind, attempt };
        let spans = [
            span(0..50, Kind::Queued, None),
            span(50..60, Kind::Starting, Some(0)),
            span(60..90, Kind::Training, Some(0)),
            span(90..200, Kind::Idle, None),
        ];
        let receipt = Receipt::of(&spans, &[Some(4)]);
        assert_eq!((receipt.wall(), receipt.spent(), receipt.money()), (200, 40, Some(4)));
        assert_eq!((receipt.money_of(Kind::Training), receipt.money_of(Kind::Idle)), (Some(3), Some(0)));
        assert_eq!(receipt.trained(), Some(75.0));
        assert_eq!(Receipt::of(&spans, &[None]).money(), None);
        assert_eq!(Receipt::default().trained(), None);
    }

    proptest! {
        #[test]
        fn shares_add_up(sum in 0..i128::from(u64::MAX), millis in prop::array::uniform8(0..1i64 << 40)) {
            let shares = shares(sum, &millis);
            prop_assert_eq!(shares.iter().sum::<Micros>(), sum);
            prop_assert!(shares.iter().all(|&share| share >= 0));
        }
    }
}
