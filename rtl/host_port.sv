/// AXI4 master for commands, tokens, tables and results: one read request and one write request at a time, each split into
/// INCR bursts of at most 64 beats that end on multiples of 64 beats and so stay within 4 KiB. Addresses are multiples of a line.
/// Read data leave as they come (the user takes every beat); write data are taken with valid/ready. A write's bursts follow one
/// another, and the next request's follow these, without waiting for responses; `write_idle_o` says that none is due.
module host_port #(
    parameter int unsigned AxiBytes = 64
) (
    input  logic         clk_i,
    input  logic         rst_ni,
    // Read request.
    input  logic         read_i,
    output logic         read_ready_o,
    input  logic [ 63:0] read_address_i,
    input  logic [ 15:0] read_beats_i,
    output logic         data_valid_o,
    output logic [8*AxiBytes-1:0] data_o,
    output logic         read_error_o,
    // Write request.
    input  logic         write_i,
    output logic         write_ready_o,
    output logic         write_idle_o,
    input  logic [ 63:0] write_address_i,
    input  logic [ 15:0] write_beats_i,
    input  logic         write_data_valid_i,
    output logic         write_data_ready_o,
    input  logic [8*AxiBytes-1:0] write_data_i,
    output logic         write_error_o,
    // AXI4.
    output logic         arvalid_o,
    input  logic         arready_i,
    output logic [ 63:0] araddr_o,
    output logic [  7:0] arlen_o,
    input  logic         rvalid_i,
    output logic         rready_o,
    input  logic [8*AxiBytes-1:0] rdata_i,
    input  logic [  1:0] rresp_i,
    input  logic         rlast_i,
    output logic         awvalid_o,
    input  logic         awready_i,
    output logic [ 63:0] awaddr_o,
    output logic [  7:0] awlen_o,
    output logic         wvalid_o,
    input  logic         wready_i,
    output logic [8*AxiBytes-1:0] wdata_o,
    output logic         wlast_o,
    input  logic         bvalid_i,
    output logic         bready_o,
    input  logic [  1:0] bresp_i
);

  localparam int unsigned ByteBits = $clog2(AxiBytes);

  // ---- Reads.
  logic [63:0] read_address_q;
  logic [15:0] read_request_q, read_waiting_q;  // beats to ask for; beats still to come
  logic arvalid_q;
  logic [63:0] araddr_q;
  logic [7:0] arlen_q;
  logic [6:0] read_burst;
  logic [2:0] bursts_q;
  logic read_issue;

  function automatic logic [6:0] burst_beats(input logic [5:0] beat_of_64, input logic [15:0] beats);
    burst_beats = 7'd64 - 7'(beat_of_64);
    if (16'(burst_beats) > beats) burst_beats = 7'(beats);
  endfunction

  assign read_burst = burst_beats(read_address_q[ByteBits+:6], read_request_q);
  assign read_issue = read_request_q != '0 && (!arvalid_q || arready_i) && bursts_q != 3'd4;
  assign read_ready_o = read_waiting_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_address_q <= '0;
      read_request_q <= '0;
      read_waiting_q <= '0;
      arvalid_q      <= 1'b0;
      araddr_q       <= '0;
      arlen_q        <= '0;
      bursts_q       <= '0;
    end else begin
      if (read_i && read_ready_o) begin
        read_address_q <= read_address_i;
        read_request_q <= read_beats_i;
        read_waiting_q <= read_beats_i;
      end else if (rvalid_i) begin
        read_waiting_q <= read_waiting_q - 1'b1;
      end
      if (read_issue) begin
        arvalid_q      <= 1'b1;
        araddr_q       <= read_address_q;
        arlen_q        <= 8'(read_burst - 1'b1);
        read_address_q <= read_address_q + (64'(read_burst) << ByteBits);
        read_request_q <= read_request_q - 16'(read_burst);
      end else if (arready_i) begin
        arvalid_q <= 1'b0;
      end
      if (read_issue && !(rvalid_i && rlast_i)) bursts_q <= bursts_q + 1'b1;
      if (!read_issue && rvalid_i && rlast_i) bursts_q <= bursts_q - 1'b1;
    end
  end

  assign arvalid_o = arvalid_q;
  assign araddr_o = araddr_q;
  assign arlen_o = arlen_q;
  assign rready_o = 1'b1;
  assign data_valid_o = rvalid_i;
  assign data_o = rdata_i;
  assign read_error_o = rvalid_i && rresp_i != 2'b00;

  // ---- Writes: one burst after the other, at most seven of them waiting for their responses.
  typedef enum logic [1:0] {
    WriteIdle,
    WriteAddress,
    WriteData
  } write_state_e;
  write_state_e write_state_q;
  logic [63:0] write_address_q;
  logic [15:0] write_left_q;
  logic [6:0] write_burst_q, write_burst;
  logic [2:0] responses_q;  // still to come
  logic address_sent, response_taken;
  assign write_burst = burst_beats(write_address_q[ByteBits+:6], write_left_q);
  assign address_sent = awvalid_o && awready_i;
  assign response_taken = bvalid_i && bready_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_state_q   <= WriteIdle;
      write_address_q <= '0;
      write_left_q    <= '0;
      write_burst_q   <= '0;
      responses_q     <= '0;
    end else begin
      if (address_sent && !response_taken) responses_q <= responses_q + 1'b1;
      if (!address_sent && response_taken) responses_q <= responses_q - 1'b1;
      unique case (write_state_q)
        WriteIdle:
        if (write_i) begin
          write_address_q <= write_address_i;
          write_left_q    <= write_beats_i;
          write_state_q   <= WriteAddress;
        end
        WriteAddress:
        if (address_sent) begin
          write_burst_q   <= write_burst;
          write_address_q <= write_address_q + (64'(write_burst) << ByteBits);
          write_left_q    <= write_left_q - 16'(write_burst);
          write_state_q   <= WriteData;
        end
        WriteData:
        if (wvalid_o && wready_i) begin
          write_burst_q <= write_burst_q - 1'b1;
          if (wlast_o) write_state_q <= (write_left_q == '0) ? WriteIdle : WriteAddress;
        end
        default: write_state_q <= WriteIdle;
      endcase
    end
  end

  assign write_ready_o = write_state_q == WriteIdle;
  assign write_idle_o = write_state_q == WriteIdle && responses_q == '0;
  assign awvalid_o = write_state_q == WriteAddress && responses_q != 3'd7;
  assign awaddr_o = write_address_q;
  assign awlen_o = 8'(write_burst - 1'b1);
  assign wvalid_o = write_state_q == WriteData && write_data_valid_i;
  assign write_data_ready_o = write_state_q == WriteData && wready_i;
  assign wdata_o = write_data_i;
  assign wlast_o = write_burst_q == 7'd1;
  assign bready_o = responses_q != '0;
  assign write_error_o = response_taken && bresp_i != 2'b00;

`ifndef SYNTHESIS
  logic read_held_q, address_held_q, data_held_q;
  logic [71:0] read_request_held_q, address_request_held_q;
  logic [8*AxiBytes:0] data_offer_held_q;
  always_ff @(posedge clk_i) begin
    read_held_q            <= rst_ni && arvalid_o && !arready_i;
    read_request_held_q    <= {arlen_o, araddr_o};
    address_held_q         <= rst_ni && awvalid_o && !awready_i;
    address_request_held_q <= {awlen_o, awaddr_o};
    data_held_q            <= rst_ni && wvalid_o && !wready_i;
    data_offer_held_q      <= {wlast_o, wdata_o};
    if (rst_ni) begin
      assert (!read_held_q || (arvalid_o && read_request_held_q == {arlen_o, araddr_o}))
      else $error("host_port: a read request changed before it was taken");
      assert (!address_held_q || (awvalid_o && address_request_held_q == {awlen_o, awaddr_o}))
      else $error("host_port: a write request changed before it was taken");
      assert (!data_held_q || (wvalid_o && data_offer_held_q == {wlast_o, wdata_o}))
      else $error("host_port: a write's beat changed before it was taken");
      assert (!rvalid_i || read_waiting_q != '0) else $error("host_port: a beat nobody asked for");
      assert (!read_i || read_address_i[5:0] == '0) else $error("host_port: read address not a multiple of 64");
      assert (!write_i || write_address_i[5:0] == '0) else $error("host_port: write address not a multiple of 64");
      assert (!bvalid_i || responses_q != '0) else $error("host_port: a response nobody waits for");
    end
  end
`endif

endmodule
