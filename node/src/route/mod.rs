//! Which server is meant: an immutable table per era, swapped whole when a catalog or the configuration changes.

mod clear;
mod cursor;
pub mod list;
mod merge;
mod page;
mod plan;
mod rewrite;
mod router;
mod skills;
mod table;
mod template;

pub use self::clear::{check_clear, is_paged};
pub use self::list::{Rendered, kind_of};
pub use self::merge::{Merged, discover_result, initialize_result, initialize_result_of};
pub use self::page::{changed_method, changes, page};
pub use self::plan::{Plan, TaskOwner, TaskRef, is_known, plan};
pub use self::rewrite::{merged, own_versions, permitted, prefix_notification};
pub use self::router::{Collision, Router};
pub use self::table::{Entry, Hidden, Scope, Table, Target};
pub use crate::upstream::catalog::ListKind;
