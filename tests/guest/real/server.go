// A program of Go's that talks to itself: HTTP with forty requests at once, TCP by both families, UDP, a local socket.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func web() {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s by %s", r.URL.Query().Get("n"), r.Proto)
	})
	listener, err := net.Listen("tcp", "localhost:0")
	check(err)
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	var all sync.WaitGroup
	var good int32
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			client := &http.Client{Timeout: 60 * time.Second}
			for k := 0; k < 5; k++ {
				r, err := client.Get(fmt.Sprintf("http://%s/hello?n=%d", listener.Addr(), i))
				check(err)
				body, err := io.ReadAll(r.Body)
				check(err)
				r.Body.Close()
				if string(body) == fmt.Sprintf("hello %d by HTTP/1.1", i) {
					atomic.AddInt32(&good, 1)
				}
			}
		}(i)
	}
	all.Wait()
	fmt.Println("answers:", good)
	check(server.Close())
}

func interfaces() {
	list, err := net.Interfaces()
	check(err)
	for _, i := range list {
		if i.Name == "lo" {
			addresses, err := i.Addrs()
			fmt.Println(i.Name, i.MTU, i.Flags&(net.FlagUp|net.FlagLoopback), addresses, err)
		}
	}
}

func tcp() {
	listener, err := net.Listen("tcp", ":0")
	check(err)
	go func() {
		c, err := listener.Accept()
		check(err)
		fmt.Fprint(c, "bye")
		c.Close()
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 60*time.Second)
	check(err)
	all, err := io.ReadAll(c)
	fmt.Println(string(all), err)
	_, err = net.Dial("tcp", "127.0.0.1:1")
	fmt.Println(err)
}

func udp() {
	packets, err := net.ListenPacket("udp", "[::1]:0")
	check(err)
	c, err := net.Dial("udp", packets.LocalAddr().String())
	check(err)
	c.Write([]byte("ping"))
	buffer := make([]byte, 100)
	n, from, err := packets.ReadFrom(buffer)
	fmt.Println(string(buffer[:n]), from.String() == c.LocalAddr().String(), err)
	packets.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, _, err = packets.ReadFrom(buffer)
	fmt.Println("timeout:", err.(net.Error).Timeout())
}

func local() {
	listener, err := net.Listen("unix", "@paracell-go")
	check(err)
	go func() {
		c, err := listener.Accept()
		check(err)
		io.Copy(c, c)
		c.Close()
	}()
	c, err := net.Dial("unix", "@paracell-go")
	check(err)
	c.Write([]byte("echo"))
	c.(*net.UnixConn).CloseWrite()
	all, err := io.ReadAll(c)
	fmt.Println(string(all), err)
}

func main() {
	web()
	interfaces()
	tcp()
	udp()
	local()
}
