// C++: exceptions through frames and threads, RTTI, statics, iostreams.
#include <algorithm>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct Loud {
    std::string name;
    ~Loud() { std::cout << "gone: " << name << '\n'; }
};

struct Base { virtual ~Base() = default; };
struct Derived : Base {};

static void deep(int n) {
    Loud here{std::to_string(n)};
    if (n == 0)
        throw std::out_of_range("the bottom");
    deep(n - 1);
}

int main() {
    try {
        deep(3);
    } catch (const std::exception &e) {
        std::cout << "caught " << e.what() << '\n';
    }
    auto later = std::async(std::launch::async, []() -> int { throw std::runtime_error("from a thread"); });
    try {
        later.get();
    } catch (const std::runtime_error &e) {
        std::cout << "caught " << e.what() << '\n';
    }
    std::vector<std::thread> threads;
    std::vector<int> results(6);
    for (int i = 0; i < 6; i++)
        threads.emplace_back([i, &results] {
            try {
                throw i * i;
            } catch (int n) {
                results[i] = n;
            }
        });
    for (auto &t : threads)
        t.join();
    for (int n : results)
        std::cout << n << ' ';
    std::unique_ptr<Base> p = std::make_unique<Derived>();
    std::cout << (dynamic_cast<Derived *>(p.get()) != nullptr) << '\n';
    std::map<std::string, int> words;
    std::istringstream in("b a b c b a");
    for (std::string w; in >> w;)
        words[w]++;
    for (auto &[w, n] : words)
        std::cout << w << '=' << n << ' ';
    std::cout << '\n';
    try {
        std::string("short").at(10);
    } catch (const std::out_of_range &) {
        std::cout << "out of range\n";
    }
    return 4;
}
