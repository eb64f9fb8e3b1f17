//! A bound on attempts at once that may change while attempts are under way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// Room for attempts. Who waits for it gets it in the order of coming.
#[derive(Debug)]
pub(crate) struct Room {
    places: Semaphore,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    max: usize,
    taken: usize,
    /// How many places are not given back when they are left, since there are fewer now.
    excess: usize,
}

/// A place in the room, left when this is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Room);

impl Room {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            places: Semaphore::new(max),
            inner: Mutex::new(Inner {
                max,
                taken: 0,
                excess: 0,
            }),
        }
    }

    /// Waits for a place; `None` is never, as the room is not closed.
    pub(crate) async fn enter(&self) -> Option<Place<'_>> {
        self.places.acquire().await.ok()?.forget();
        self.lock().taken += 1;
        Some(Place(self))
    }

    /// Changes how many there may be. Those above the bound are waited for, not stopped.
    pub(crate) fn resize(&self, max: usize) {
        let mut inner = self.lock();
        match max.checked_sub(inner.max) {
            Some(more) => {
                let paid = more.min(inner.excess);
                inner.excess -= paid;
                self.places.add_permits(more - paid);
            }
            None => {
                let fewer = inner.max - max;
                inner.excess += fewer - self.places.forget_permits(fewer);
            }
        }
        inner.max = max;
    }

    pub(crate) fn taken(&self) -> usize {
        self.lock().taken
    }

    pub(crate) fn max(&self) -> usize {
        self.lock().max
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.taken -= 1;
        if inner.excess > 0 {
            inner.excess -= 1;
        } else {
            self.0.places.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Takes every place that there is.
    fn fill(room: &Room) -> Vec<Place<'_>> {
        std::iter::from_fn(|| room.enter().now_or_never().flatten()).collect()
    }

    #[test]
    fn the_bound_holds_through_changes() {
        let room = Room::new(3);
        let mut places = fill(&room);
        assert_eq!((places.len(), room.taken()), (3, 3));
        room.resize(1);
        places.truncate(1);
        // Two have left, and neither made room.
        assert_eq!((fill(&room).len(), room.taken()), (0, 1));
        drop(places);
        assert_eq!(fill(&room).len(), 1);
        room.resize(4);
        let places = fill(&room);
        assert_eq!(places.len(), 4);
        room.resize(1);
        room.resize(3);
        drop(places);
        assert_eq!((room.taken(), room.max()), (0, 3));
        assert_eq!(fill(&room).len(), 3);
    }
}
