// squares.go: a connector in Go with the standard library alone, by docs/protocol/connector.md and arrow.md.
//
//	go build squares.go          and a host runs it as `ipc::./squares`
//
// A location is a number of rows, of the columns n and square.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"strconv"
	"strings"
)

const rowsOfBatch = 1000

// The two messages of arrow.md. What is filled in of a batch: the size of its body, rows, nodes, buffers.
var (
	schema, _ = hex.DecodeString("ffffffffc8000000100000000a000c0004000600080000000c000000040001000c00000008000800000004000800000004000000" +
		"020000001800000058000000100014000400000008000c0000001000100000001000000002000000180000002000000001000000" +
		"6e00000008000c000400080008000000400000000100000000000000100014000400000008000c00000010001000000010000000" +
		"020000001c0000002400000006000000737175617265000008000c00040008000800000040000000010000000000000000000000")
	batch, _ = hex.DecodeString("ffffffffc0000000100000000c00180004000600080010000c00000004000300200000000000000000000000000000000a001800" +
		"080010001400000000000000100000000000000000000000000000000c0000003000000000000000020000000000000000000000" +
		"0000000000000000000000000000000000000000000000000000000004" + strings.Repeat("00", 67))
	end = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}
)

const body, rowsAt, nodes, buffers = 40, 72, 96, 136

type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type request struct {
	ID     json.RawMessage `json:"id"`
	Method *string         `json:"method"`
	Params struct {
		Location *struct {
			Location *string `json:"location"`
		} `json:"location"`
	} `json:"params"`
}

func writeBatch(out io.Writer, begin, after uint64) {
	rows := after - begin
	message := append(append([]byte{}, batch...), make([]byte, 16*rows)...)
	set := binary.LittleEndian.PutUint64
	set(message[body:], 16*rows)
	for _, at := range []int{rowsAt, nodes, nodes + 16} {
		set(message[at:], rows)
	}
	for _, at := range []int{24, 32, 48, 56} { // sizes of both columns; the second begins after the first
		set(message[buffers+at:], 8*rows)
	}
	for i := uint64(0); i < rows; i++ {
		n := begin + i + 1
		set(message[len(batch)+int(8*i):], n)
		set(message[len(batch)+int(8*(rows+i)):], n*n)
	}
	out.Write(message)
}

func writeData(out io.Writer, rows uint64) {
	size := uint64(0) // it goes first: it has to be known; 0: no data
	if rows > 0 {
		batches := (rows + rowsOfBatch - 1) / rowsOfBatch
		size = uint64(len(schema)) + batches*uint64(len(batch)) + 16*rows + uint64(len(end))
	}
	binary.Write(out, binary.BigEndian, uint32(size))
	if rows == 0 {
		return
	}
	out.Write(schema)
	for at := uint64(0); at < rows; at += rowsOfBatch {
		writeBatch(out, at, min(at+rowsOfBatch, rows))
	}
	out.Write(end)
}

// What a request comes to: a result, or a failure; after the reply to data, rows.
func work(asked request) (result any, failed *failure, rows *uint64) {
	switch *asked.Method {
	case "handshake":
		return map[string]any{"protocol_version": "1"}, nil, nil
	case "ping":
		return "pong", nil, nil
	case "discover":
		return map[string]any{"locations": []map[string]any{
			{"location": "10", "num_rows": 10}, {"location": "1000000", "num_rows": 1000000}, {"location": "0"}}}, nil, nil
	case "stable_url":
		return nil, nil, nil
	case "shutdown":
		return map[string]any{"ok": true}, nil, nil
	case "data":
		if asked.Params.Location == nil || asked.Params.Location.Location == nil {
			return nil, &failure{-32602, "no location"}, nil
		}
		rows, err := strconv.ParseUint(*asked.Params.Location.Location, 10, 26)
		if err != nil {
			return nil, &failure{-32000, "a location is a number of rows"}, nil
		}
		return map[string]any{"ok": true}, nil, &rows
	}
	return nil, &failure{-32601, "there is no such method"}, nil
}

func handle(line []byte, out io.Writer) (more bool) {
	var asked request
	var value any
	var result any
	var rows *uint64
	failed := &failure{-32700, "not JSON"}
	if json.Unmarshal(line, &value) == nil {
		failed = &failure{-32600, "not a request"}
		err := json.Unmarshal(line, &asked)
		if err != nil && asked.Method != nil {
			failed = &failure{-32602, "parameters that do not fit"}
		} else if err == nil && asked.Method != nil {
			result, failed, rows = work(asked)
		}
	}
	if asked.ID == nil {
		if asked.Method != nil {
			return true // a notification: none is known
		}
		asked.ID = json.RawMessage("null")
	}
	reply := map[string]any{"jsonrpc": "2.0", "id": asked.ID, "result": result}
	if failed != nil {
		delete(reply, "result")
		reply["error"] = failed
	}
	json.NewEncoder(out).Encode(reply)
	if rows != nil {
		writeData(out, *rows)
	}
	return asked.Method == nil || *asked.Method != "shutdown"
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<16)
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	for more := true; more; {
		line, err := in.ReadBytes('\n')
		if len(strings.TrimSpace(string(line))) > 0 {
			more = handle(line, out)
		}
		out.Flush()
		more = more && err == nil
	}
}
