//! TCP sequence numbers, which wrap around.

use core::ops::{Add, AddAssign, Sub};

/// A sequence number. Comparisons hold between numbers less than 2^31 apart.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Seq(pub u32);

impl Seq {
    #[inline]
    pub fn lt(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    #[inline]
    pub fn le(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) <= 0
    }

    #[inline]
    pub fn gt(self, other: Self) -> bool {
        other.lt(self)
    }

    #[inline]
    pub fn ge(self, other: Self) -> bool {
        other.le(self)
    }

    #[inline]
    pub fn max(self, other: Self) -> Self {
        if self.lt(other) { other } else { self }
    }

    #[inline]
    pub fn min(self, other: Self) -> Self {
        if self.lt(other) { self } else { other }
    }
}

impl Add<u32> for Seq {
    type Output = Self;
    #[inline]
    fn add(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }
}

impl AddAssign<u32> for Seq {
    #[inline]
    fn add_assign(&mut self, n: u32) {
        self.0 = self.0.wrapping_add(n);
    }
}

/// How far `self` is behind `other`; the caller knows that it is.
impl Sub for Seq {
    type Output = u32;
    #[inline]
    fn sub(self, other: Self) -> u32 {
        self.0.wrapping_sub(other.0)
    }
}
