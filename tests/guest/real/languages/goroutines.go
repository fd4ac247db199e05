// Go: goroutines, channels, select with timeouts, panics, maps, a child process.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"
)

func deep(n int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("at %d: %v", n, r)
			if n < 2 {
				panic(err)
			}
		}
	}()
	if n == 0 {
		panic("the bottom")
	}
	return deep(n - 1)
}

func main() {
	fmt.Println(deep(3))
	results := make(chan int)
	var wg sync.WaitGroup
	for i := 0; i < 100; i++ {
		wg.Add(1)
		go func(i int) { defer wg.Done(); results <- i * i }(i)
	}
	go func() { wg.Wait(); close(results) }()
	sum := 0
	for r := range results {
		sum += r
	}
	fmt.Println(sum)
	select {
	case <-make(chan int):
	case <-time.After(10 * time.Millisecond):
		fmt.Println("timeout")
	}
	words := map[string]int{}
	for _, w := range strings.Fields("b a b c") {
		words[w]++
	}
	keys := []string{}
	for k := range words {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	fmt.Println(keys, words["b"])
	runtime.GC()
	out, err := exec.Command("sh", "-c", "echo child; exit 3").Output()
	var failed *exec.ExitError
	fmt.Printf("%q %v\n", out, errors.As(err, &failed) && failed.ExitCode() == 3)
	stop := false
	go func() { time.Sleep(20 * time.Millisecond); stop = true; fmt.Println("preempted"); os.Exit(5) }()
	for !stop || true {
	}
}
