//! A year of a site whose operator does what the manual says: every night a backup, `forget --prune` and a look at `status`, every week a
//! drill, every month a check; and at random moments harm. A model that asks no engine knows what is good. Each night:
//!
//! - what plain `lrl restore` takes is the newest snapshot that is known to be good, and what it brings is what was there;
//! - `forget` removes neither the last good database, the last good uploads nor what a drill has proved last, also where nobody knows yet that
//!   newer ones are bad;
//! - `status` is red in the very night of the harm, and on no other. What no backup can see (a flipped byte in a pack, a rotten set, noise in
//!   the pages of a database) it shows from the first drill or check on that reads it: nobody can know before. A wrong clock harms no data;
//!   status is red where drills or checks seem to be too old by it, or the newest snapshot is of a time to come.
//! - A run that is killed loses nothing, and the next one is as good as any.
//!
//! `LRL_TEST_ROUNDS` is how many years (`all`: 300), `LRL_TEST_STATE` the seed of the one to try again, or a range
//! of seeds (`40..60`).

// A log says how much was done.
#![allow(clippy::print_stdout)]

mod dice;
mod lab;
mod model;
mod night;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use night::Year;

/// The seeds of the years, and how many nights each has.
fn bounds() -> (Range<u64>, u64) {
    if let Ok(state) = std::env::var("LRL_TEST_STATE")
        && let Some((first, behind)) = state.split_once("..").or(Some((&state, "")))
        && let Ok(first) = first.parse()
    {
        return (first..behind.parse().unwrap_or(first + 1), 365);
    }
    match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => (0..300, 365),
        Ok(number) => (0..number.parse().unwrap_or(1), 365),
        Err(_) => (0..2, 120),
    }
}

#[test]
fn in_a_year_of_harm_restore_forget_and_status_agree_on_what_is_good() {
    let (seeds, nights) = bounds();
    let mut counts = BTreeMap::<&str, u64>::new();
    for seed in seeds {
        let mut year = Year::new(seed);
        for night in 0..nights {
            match catch_unwind(AssertUnwindSafe(|| year.night(night))) {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => {
                    println!("{:?}\nnight {night}; to try this year again: LRL_TEST_STATE={seed}", year.log);
                    std::panic::resume_unwind(why);
                }
            }
        }
        *counts.entry("years").or_default() += 1;
        year.world.counts.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n);
        // Hundreds of years take hours.
        if counts["years"].is_multiple_of(5) {
            println!("{counts:?}");
        }
    }
    println!("{counts:?}");
}
