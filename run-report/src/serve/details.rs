//! The details of a run for the live page: its curves, which grow, and what is read anew less often.

use super::follow::Follow;
use crate::curve::Curve;
use crate::curves::Options;
use crate::goodput::gather::{Goodput, of_rows};
use crate::page::data::{Parts, metrics_of_run, of_pictures, of_receipt};
use crate::page::media::Picture;
use crate::page::resources;
use crate::run::Run;
use crate::settings::environment;
use run_common::cost::Rates;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of points of a curve: a page that is sent often is coarser.
const BUCKETS: usize = 512;

/// Maximum age of what changes slowly: the timeline, resources and packages of an active run.
const SLOW: Duration = Duration::from_secs(30);

/// A run that is read as a whole is read anew after this many times the time that it took.
const COST: u32 = 300;

/// The details of a run.
#[derive(Default)]
pub(super) struct Details<'a> {
    /// The version of the run that they are of.
    version: u64,
    json: Option<Arc<String>>,
    follow: Option<Follow<'a>>,
    has_begun: bool,
    /// When and in which state of the run the slow parts were read.
    slow: Option<(Instant, String, Goodput, Vec<Curve>)>,
    pictures: Vec<Picture>,
    /// Until when the rows are not read as a whole again.
    rests_until: Option<Instant>,
}

impl<'a> Details<'a> {
    /// Returns the details as JSON, which are those of this version, or somewhat older.
    pub(super) fn json(
        &mut self,
        id: u64,
        run: &Run,
        version: u64,
        options: &'a Options<'a>,
        rates: Option<&Rates>,
    ) -> Arc<String> {
        let is_resting =
            self.rests_until.is_some_and(|until| Instant::now() < until) && !run.seen.status().has_ended();
        // Another client may have asked for a later version meanwhile.
        if let Some(json) = self.json.as_ref().filter(|_| self.version >= version || is_resting) {
            return json.clone();
        }
        if !self.has_begun {
            self.follow = Follow::begin(run, options, BUCKETS);
            self.has_begun = true;
        }
        if self.follow.as_mut().is_some_and(|follow| !follow.go_on(run)) {
            self.follow = None;
        }
        let state = format!("{} {}", run.seen.status(), run.attempts.iter().count());
        let is_fresh =
            self.slow.as_ref().is_some_and(|(time, known, ..)| *known == state && time.elapsed() < SLOW);
        let mut whole = None;
        let curves = if let Some(follow) = &self.follow {
            self.rests_until = None;
            self.pictures = follow.pictures().to_vec();
            follow.curves(run)
        } else {
            let begun = Instant::now();
            let (all, follow) = Follow::whole(run, options, BUCKETS);
            self.follow = follow;
            let rest = begun.elapsed() * COST;
            self.rests_until = Some(Instant::now() + rest)
                .filter(|_| !run.seen.status().has_ended() && self.follow.is_none());
            (whole, self.pictures) = (Some(all.rows), all.pictures);
            all.curves
        };
        if !is_fresh {
            let rows = whole.or_else(|| self.follow.as_ref().map(Follow::rows)).unwrap_or_default();
            let resources = resources::curves(run.seen.run.layout());
            self.slow = Some((Instant::now(), state, of_rows(run, rows, rates), resources));
        }
        let Some((_, _, goodput, resources)) = &self.slow else { return Arc::default() };
        let source =
            |(place, picture): (usize, &Picture)| (place, format!("media?id={id}&number={}", picture.number));
        let media = of_pictures(&self.pictures, self.pictures.iter().enumerate().map(source).collect());
        let parts = Parts {
            goodput,
            curves: &curves,
            resources,
            environment: environment(run),
            has_packages: true,
            media,
        };
        let receipt = Some(&goodput.receipt).filter(|_| !goodput.spans.is_empty()).map(of_receipt);
        let more = json!({"version": version, "metrics": metrics_of_run(&curves), "receipt": receipt});
        let json = parts.json(run);
        let json = format!("{{\"detail\":{more},\"run\":{json}}}");
        self.version = version;
        let json = Arc::new(json);
        self.json = Some(json.clone());
        json
    }

    /// Returns the picture with a number.
    pub(super) fn picture(&self, number: u64) -> Option<Picture> {
        self.pictures.iter().find(|picture| picture.number == number).cloned()
    }

    /// Forgets what can be read again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
