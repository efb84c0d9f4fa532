//! What the suites share.

/// Makes one test of each function of a suite. `$make` builds a fresh, empty implementation: an async closure or function
/// without arguments.
#[doc(hidden)]
#[macro_export]
macro_rules! suite_tests {
    ($seam:ident, $attr:tt, $make:tt, $($name:ident)*) => {
        $($crate::suite_tests!(@one $seam, $attr, $make, $name);)*
    };
    (@one $seam:ident, ($attr:meta), ($make:expr), $name:ident) => {
        #[$attr]
        async fn $name() {
            $crate::$seam::suite::$name($make().await).await;
        }
    };
}
