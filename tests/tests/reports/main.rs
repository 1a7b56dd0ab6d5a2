//! `run-report`: tables, pages, exports.

mod consolidation;
mod costs;
mod goodput;
mod many_metrics;
mod page;
mod page_parts;
mod pages;
mod serve;
mod table;
mod ways_out;
