// SPDX-License-Identifier: Apache-2.0
//
// real.<name>: libc's own functions behind the names that we interpose. Each pointer begins as a stub that resolves the
// whole table and forwards, so a hook called before our constructor works; afterwards it points at libc (or at the next
// preloaded library). Any thread.
#pragma once

#include "preload/undeclared.h"

namespace coro {

namespace detail {

// The type of real.<name>: libc's declaration without noexcept, and with "..." as six register-sized arguments: on
// x86-64 that is how the caller of a variadic function with integer arguments passes them.
template <class F>
struct RealType;
template <class R, class... A>
struct RealType<R (*)(A...)> {
  using type = R (*)(A...);
};
template <class R, class... A>
struct RealType<R (*)(A...) noexcept> {
  using type = R (*)(A...);
};
template <class R, class... A>
struct RealType<R (*)(A..., ...)> {
  using type = R (*)(A..., long, long, long, long, long, long);
};
template <class R, class... A>
struct RealType<R (*)(A..., ...) noexcept> {
  using type = R (*)(A..., long, long, long, long, long, long);
};

}  // namespace detail

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
struct Real {
#define SYMBOL(name, family, does) detail::RealType<decltype(&::name)>::type name;
#define ALIAS(name, family, of)
#include "preload/symbols.def"
#undef SYMBOL
#undef ALIAS
};
#pragma GCC diagnostic pop

extern Real real;

// Fills the table; harmless when done. The constructor calls it so that no hook pays.
void resolve_real();

}  // namespace coro
