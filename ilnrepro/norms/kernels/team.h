// The team of threads that computes.

#ifndef ILNREPRO_TEAM_H_
#define ILNREPRO_TEAM_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace iln {

// A training step calls for its threads some ninety times, and on small maps each time for less than waking a sleeping
// thread takes. So helpers stay awake for a while after their last work, and the caller begins at once, does what no
// helper has begun, and waits for none that has yet to come.
class Team {
 public:
  using Work = std::function<void(int64_t, int64_t)>;

  static Team& OfProcess() {
    static Team* team = new Team;  // never destroyed: its threads end with the process
    return *team;
  }

  // Calls work(first, limit) for all `items` of so many cycles each. Of all that call at once and their helpers no more
  // than `threads` work.
  void Run(int threads, int64_t items, int64_t cycles, const Work& work) {
    cycles = std::max<int64_t>(cycles, 1);
    if (threads == 1 || items < 2 || items < 2 * kCycles / cycles) {
      if (items > 0) work(0, items);
      return;
    }
    Job job(work, items, std::max(items / (kShares * threads), kCycles / cycles));
    Begin(&job, threads);
    job.DoShares();
    End(&job);
    for (int64_t looks = 1; job.helpers.load(std::memory_order_acquire) > 0; ++looks) Pause(looks);
  }

 private:
  static constexpr int64_t kShares = 4;      // of a thread, so that one that comes late delays little
  static constexpr int64_t kCycles = 20000;  // that a share takes at least: ten times what handing it over does
  static constexpr std::chrono::milliseconds kAwake{1};

  struct Job {
    Job(const Work& work, int64_t items, int64_t share)
        : work(work), items(items), share(std::max<int64_t>(share, 1)) {}

    bool Left() const { return next.load(std::memory_order_relaxed) < items; }
    void DoShares() {
      for (int64_t first; (first = next.fetch_add(share, std::memory_order_relaxed)) < items;) {
        work(first, std::min(first + share, items));
      }
    }

    const Work& work;
    const int64_t items, share;
    std::atomic<int64_t> next{0};
    std::atomic<int> helpers{0};  // at work for it
  };

  void Begin(Job* job, int threads) {
    std::lock_guard<std::mutex> lock(mutex_);
    try {
      for (; helpers_ < threads - 1; ++helpers_) std::thread([this] { Help(); }).detach();
    } catch (const std::system_error&) {  // the system has no thread left: those there are do the work
    }
    threads_ = threads;
    ++working_;
    jobs_.push_back(job);
    Call();
  }

  void End(Job* job) {
    std::lock_guard<std::mutex> lock(mutex_);
    --working_;
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), job));
    if (!jobs_.empty()) Call();  // there is a place free for another's helper
  }

  void Call() {
    calls_.fetch_add(1, std::memory_order_release);
    if (asleep_ > 0) called_.notify_all();
  }

  void Help() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      const uint64_t heard = calls_.load(std::memory_order_relaxed);
      const auto job = std::find_if(jobs_.begin(), jobs_.end(), [](const Job* job) { return job->Left(); });
      if (working_ < threads_ && job != jobs_.end()) {
        DoSharesOf(*job, &lock);
        continue;
      }
      lock.unlock();
      const bool hears = Hears(heard);
      lock.lock();
      if (hears) continue;
      ++asleep_;
      called_.wait(lock, [&] { return calls_.load(std::memory_order_relaxed) != heard; });
      --asleep_;
    }
  }

  void DoSharesOf(Job* job, std::unique_lock<std::mutex>* lock) {
    ++working_;
    job->helpers.fetch_add(1, std::memory_order_relaxed);
    lock->unlock();
    job->DoShares();
    lock->lock();
    --working_;
    job->helpers.fetch_sub(1, std::memory_order_release);  // the job may be gone from here on
  }

  // Whether a call comes while this thread is awake.
  bool Hears(uint64_t heard) const {
    const auto sleep = std::chrono::steady_clock::now() + kAwake;
    for (int64_t looks = 1; calls_.load(std::memory_order_acquire) == heard; ++looks) {
      Pause(looks);
      if (looks % kLooks == 0 && std::chrono::steady_clock::now() > sleep) return false;
    }
    return true;
  }

  static constexpr int64_t kLooks = 64;  // before it lets others have the core

  static void Pause(int64_t looks) {
    if (looks % kLooks == 0) return std::this_thread::yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  std::mutex mutex_;  // of all below
  std::condition_variable called_;
  std::atomic<uint64_t> calls_{0};  // read without the mutex by those that look out for one
  std::vector<Job*> jobs_;
  int threads_ = 1, helpers_ = 0, working_ = 0, asleep_ = 0;
};

}  // namespace iln

#endif  // ILNREPRO_TEAM_H_
