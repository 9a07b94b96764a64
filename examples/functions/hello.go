// Kind go:default:  go build -o hello hello.go
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime"
)

func main() {
	calls := bufio.NewReaderSize(os.Stdin, 1<<20)
	answers := json.NewEncoder(os.NewFile(3, "answers"))
	for {
		line, err := calls.ReadBytes('\n')
		if err != nil {
			return
		}
		var call struct{ Value struct{ Name string } }
		if json.Unmarshal(line, &call); call.Value.Name == "" {
			call.Value.Name = "world"
		}
		answers.Encode(map[string]string{"hello": call.Value.Name, "from": runtime.Version()})
	}
}
