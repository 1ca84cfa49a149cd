// SPDX-License-Identifier: Apache-2.0
//
// A program that is marked as running code on its stacks (GNU C's nested functions, Ada's) may do so in all threads.
#include <string.h>

#include "thread_testing.h"

static int call_code_on_stack() {
  unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
  volatile unsigned char here[sizeof code];
  for (size_t i = 0; i < sizeof code; i++) here[i] = code[i];
  return reinterpret_cast<int (*)()>(const_cast<unsigned char*>(here))();
}

int main() {
  EXPECT_EQ(42, call_code_on_stack());
  Pthread thread([] { EXPECT_EQ(42, call_code_on_stack()); });
  thread.join();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 3 << 16);
  pthread_t small;
  auto body = [](void*) -> void* { return reinterpret_cast<void*>(call_code_on_stack()); };
  EXPECT_EQ(0, pthread_create(&small, &attributes, body, nullptr));
  void* result = nullptr;
  EXPECT_EQ(0, pthread_join(small, &result));
  EXPECT(result == reinterpret_cast<void*>(42));
  return finish();
}
