// SPDX-License-Identifier: Apache-2.0
#include "hooks/hook.h"

namespace coro {

const char* name_of(Call call) {
  static constexpr const char* names[] = {
      "none",
#define SYMBOL(name, family, does) #name,
#define ALIAS(name, family, of)
#include "preload/symbols.def"
#undef SYMBOL
#undef ALIAS
  };
  return call < Call::count ? names[static_cast<int>(call)] : "?";
}

}  // namespace coro
