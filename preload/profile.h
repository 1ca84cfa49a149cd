// SPDX-License-Identifier: Apache-2.0
//
// How many hubs a program is to have, by what it is. Linked into libcoro.so and into the launcher.
#pragma once

#include <string_view>

namespace coro {

struct ProfileRow {
  std::string_view name, sign;
  int hubs;
  std::string_view help;
};

constexpr ProfileRow profile_rows[] = {
#define PROFILE(name, sign, hubs, help) {#name, sign, hubs, help},
#include "preload/profiles.def"
#undef PROFILE
};

// The row that CORO_PROFILE=`asked` means for a program of which `exports(sign)` is true.
template <class Exports>
const ProfileRow& choose_profile(std::string_view asked, Exports exports) {
  for (const ProfileRow& row : profile_rows)
    if (asked == "auto" ? !row.sign.empty() && exports(row.sign) : asked == row.name) return row;
  return profile_rows[0];
}

int usable_cpus();  // the CPUs of the affinity mask

// Whether an object that is loaded in this process defines a function of this name. Asks the objects' own tables: libc's
// look-up may allocate when it finds nothing, and it asks us first.
bool is_loaded(std::string_view name);

// What the options and the loaded program say; called when the engine starts.
int hubs_wanted();

}  // namespace coro
